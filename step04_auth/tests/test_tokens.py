"""Tokens: short-lived, for one socket, from any origin."""

import asyncio
import time

import pytest
from django.core import signing

from .helpers import SIGNED_OUT, close_code, hear, refusal, say, submit

PASSWORD = "correct horse battery"
SALT = "chat.tokens"


def ask(client, **credentials):
    """Ask for a token with a name and a password, as a script does."""
    return client.post("/api/token/", json=credentials)


def sign(token, key=None, salt=SALT, age=0):
    """Sign the content of a token again: with another key or salt, or an older date."""

    class Signer(signing.TimestampSigner):
        def timestamp(self):
            return signing.b62_encode(int(time.time()) - age)

    content = signing.TimestampSigner(salt=SALT).unsign(token)
    return Signer(key=key, salt=salt).sign(content)


@pytest.fixture
def new_token(visitor):
    """Return a function that gets a token for Ann, by her session."""

    def new_token():
        answer = submit(visitor, "/chat/", to="/api/token/")
        assert answer.status_code == 200
        return answer.json()["token"]

    return new_token


@pytest.fixture
def cat(stranger):
    """Sign up a user with a password, and return her name."""
    fields = {"username": "cat", "password1": PASSWORD, "password2": PASSWORD}
    submit(stranger, "/accounts/signup/", **fields)
    stranger.cookies.clear()
    return "cat"


@pytest.fixture
def with_token(connect):
    """Return a function that opens a socket with a token only, as a script does."""

    async def with_token(token, **options):
        options = {"session": None, "origin": None, **options}
        return await connect(f"/ws/chat/lobby/?token={token}", **options)

    return with_token


# --- asking for a token


@pytest.mark.parametrize("encoding", ["json", "data"])
def test_a_password_gets_a_token(stranger, cat, encoding):
    """Name and password, as JSON or as a form, get a token for 30 seconds."""
    credentials = {"username": cat, "password": PASSWORD}
    answer = stranger.post("/api/token/", **{encoding: credentials})
    assert answer.status_code == 200
    assert answer.json()["expires_in"] == 30
    assert answer.json()["token"]


def test_a_session_gets_a_token(visitor):
    """A signed-in browser needs no password, but the page's CSRF token."""
    answer = submit(visitor, "/chat/", to="/api/token/")
    assert answer.status_code == 200
    assert answer.json()["expires_in"] == 30


def test_a_session_without_a_csrf_token_gets_none(visitor):
    """The page of another site cannot get a token in a visitor's name."""
    assert visitor.post("/api/token/").status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        "hello",
        "[]",
        "{}",
        '{"username": "ann"}',
        '{"username": "ann", "password": 1}',
        r'{"username": "\ud800", "password": "x"}',
        r'{"username": "a\u0000", "password": "x"}',
        "[" * 20_000,
        " " * 3_000_000,
    ],
    ids=lambda body: body[:20].strip() or "3 MB",
)
def test_a_malformed_request_gets_400(stranger, body):
    """A request without a name and a password gets a sentence that says what to send."""
    answer = stranger.post(
        "/api/token/", body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["error"].endswith(".")


def test_a_form_with_too_many_fields_gets_400(stranger):
    """Django refuses such a form. The client gets a sentence too."""
    answer = stranger.post(
        "/api/token/", {f"field{number}": "x" for number in range(2_000)}
    )
    assert answer.status_code == 400
    assert answer.json()["error"].endswith(".")


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; boundary=x; charset=base64",
        "application/x-www-form-urlencoded; charset=latin-1",
    ],
)
def test_a_form_that_cannot_be_read_gets_400(stranger, content_type):
    """Django raises errors of many kinds. The client gets a sentence for each."""
    headers = {"Content-Type": content_type}
    body = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n'
    answer = stranger.post("/api/token/", body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"].endswith(".")


def test_a_form_without_a_name_is_malformed(stranger):
    """A stranger who sends nothing gets a sentence that says what to send."""
    assert stranger.post("/api/token/").status_code == 400
    assert stranger.get("/api/token/").status_code == 405


def test_a_wrong_password_gets_none(stranger, cat):
    """A wrong password and an unknown name get the same 401: it does not say which."""
    wrong = ask(stranger, username=cat, password="x")
    unknown = ask(stranger, username="nobody", password="x")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()


def test_an_inactive_user_gets_none(stranger, cat, django_user_model):
    """The right password of an inactive user is a 401 too."""
    django_user_model.objects.filter(username=cat).update(is_active=False)
    assert ask(stranger, username=cat, password=PASSWORD).status_code == 401


# --- using it


async def test_a_token_opens_a_socket_from_anywhere(new_token, with_token):
    """A token needs no cookie and no Origin, and works from a foreign Origin."""
    for origin in [None, "https://elsewhere.example"]:
        socket = await with_token(new_token(), origin=origin)
        await say(socket, "hi")
        assert (await hear(socket))["username"] == "ann"


async def test_a_token_wins_over_a_cookie(new_token, with_token, bens_session):
    """With both, the token's user speaks."""
    socket = await with_token(new_token(), session=bens_session)
    await say(socket, "who am I?")
    assert (await hear(socket))["username"] == "ann"


async def test_a_token_works_once(new_token, with_token):
    """The second socket with the same token is closed with 4001."""
    token = new_token()
    first = await with_token(token)
    assert await refusal(await with_token(token)) == SIGNED_OUT
    await say(first, "still here")
    assert (await hear(first))["message"] == "still here"


async def test_of_many_at_once_one_gets_in(new_token, with_token):
    """A token cannot be used twice, not even at the same moment."""
    token = new_token()
    sockets = await asyncio.gather(*[with_token(token) for _ in range(8)])
    closing = asyncio.as_completed([socket.wait_closed() for socket in sockets])
    for _ in range(7):
        await next(closing)
    (left,) = [socket for socket in sockets if socket.close_code is None]
    assert {socket.close_code for socket in sockets} == {SIGNED_OUT, None}
    await say(left, "I am in")
    assert (await hear(left))["message"] == "I am in"


BAD_TOKENS = {
    "nothing": lambda token: "",
    "not a token": lambda token: "hello",
    "not even text": lambda token: "%ff%00",
    "a changed signature": lambda token: (
        token[:-1] + ("a" if token[-1] != "a" else "b")
    ),
    "a changed content": lambda token: ("f" if token[0] == "e" else "e") + token[1:],
    "a signature for something else": lambda token: sign(token, salt="password reset"),
    "a signature with another key": lambda token: sign(token, key="another" * 10),
}


@pytest.mark.parametrize("make_bad", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
async def test_a_bad_token_is_refused_even_with_a_good_cookie(
    new_token, with_token, server, session, make_bad
):
    """A bad token is closed with 4001. The cookie is never a fallback."""
    bad, origin = make_bad(new_token()), server.url
    socket = await with_token(bad, session=session, origin=origin)
    assert await refusal(socket) == SIGNED_OUT


async def test_a_token_lives_for_30_seconds(new_token, with_token):
    """After 28 seconds it opens a socket, after 31 it does not."""
    socket = await with_token(sign(new_token(), age=28))
    await say(socket, "just in time")
    assert (await hear(socket))["message"] == "just in time"
    assert await refusal(await with_token(sign(new_token(), age=31))) == SIGNED_OUT


async def test_the_token_of_an_inactive_user_is_refused(new_token, with_token, ann):
    """A user may become inactive between the token and the socket."""
    token = new_token()
    ann.is_active = False
    await ann.asave()
    assert await refusal(await with_token(token)) == SIGNED_OUT


async def test_a_sign_out_ends_the_tokens_of_the_session(
    new_token, with_token, visitor
):
    """A token that was made in a session opens no socket after it."""
    token = new_token()
    submit(visitor, "/chat/", to="/accounts/logout/")
    assert await refusal(await with_token(token)) == SIGNED_OUT


async def test_a_new_password_ends_the_tokens_of_the_old_one(
    with_token, stranger, cat, django_user_model
):
    """A token that was made with the old password opens no socket."""
    token = ask(stranger, username=cat, password=PASSWORD).json()["token"]
    user = await django_user_model.objects.aget(username=cat)
    user.set_password("another one")
    await user.asave()
    assert await refusal(await with_token(token)) == SIGNED_OUT


async def test_a_query_may_have_any_number_of_fields(new_token, with_token):
    """Fields that the server does not know are ignored, however many there are."""
    fields = "".join(f"&field{number}=1" for number in range(1100))
    socket = await with_token(new_token() + fields)
    await say(socket, "hi")
    assert (await hear(socket))["username"] == "ann"


async def test_signing_out_closes_sockets_with_a_token_too(visitor, connect):
    """A sign-out closes a socket whether it came with a cookie or with a token."""
    token = submit(visitor, "/chat/", to="/api/token/").json()["token"]
    socket = await connect(f"/ws/chat/lobby/?token={token}", session=None, origin=None)
    submit(visitor, "/chat/", to="/accounts/logout/")
    assert await close_code(socket) == SIGNED_OUT
