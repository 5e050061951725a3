"""Tokens: short-lived, good for one socket, from anywhere."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import sync_to_async
from django.core import signing

from .helpers import SIGNED_OUT, hear, refusal, say, submit

PASSWORD = "correct horse battery"
SALT = "chat.tokens"


def ask(client, **credentials):
    """Ask for a token with a name and a password, as a script does."""
    return client.post("/api/token/", json=credentials)


def sign(token, key=None, salt=SALT, age=0):
    """Sign the content of a good token anew: otherwise, or some seconds ago."""

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
    """Sign up somebody with a password, and return her name."""
    fields = {"username": "cat", "password1": PASSWORD, "password2": PASSWORD}
    submit(stranger, "/accounts/signup/", **fields)
    stranger.cookies.clear()
    return "cat"


@pytest.fixture
def with_token(connect):
    """Return a function that opens a socket as a script does: a token, no cookie, no Origin."""

    async def with_token(token, **options):
        options = {"session": None, "origin": None, **options}
        return await connect(f"/ws/chat/lobby/?token={token}", **options)

    return with_token


# --- asking for a token


@pytest.mark.parametrize("encoding", ["json", "data"])
def test_a_password_gets_a_token(stranger, cat, encoding):
    """Name and password, as JSON or as a form, are answered with a token for 30 seconds."""
    credentials = {"username": cat, "password": PASSWORD}
    answer = stranger.post("/api/token/", **{encoding: credentials})
    assert answer.status_code == 200
    assert answer.json()["expires_in"] == 30
    assert answer.json()["token"]


def test_a_session_gets_a_token(visitor):
    """A browser that has signed in needs no password, but the page's CSRF token."""
    answer = submit(visitor, "/chat/", to="/api/token/")
    assert answer.status_code == 200
    assert answer.json()["expires_in"] == 30


def test_a_session_without_a_csrf_token_gets_none(visitor):
    """The page of another site cannot ask in a visitor's name."""
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
def test_a_malformed_question_is_told_so(stranger, body):
    """What is not a name and a password is a 400, with a sentence that says what is."""
    answer = stranger.post("/api/token/", body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"].endswith(".")


def test_a_malformed_form_is_told_so(stranger):
    """A form with too many fields is a 400 with a sentence as well."""
    answer = stranger.post("/api/token/", {f"field{number}": "x" for number in range(2_000)})
    assert answer.status_code == 400
    assert answer.json()["error"].endswith(".")


def test_a_form_without_a_name_is_malformed(stranger):
    """A stranger who sends nothing is told what to send."""
    assert stranger.post("/api/token/").status_code == 400
    assert stranger.get("/api/token/").status_code == 405


def test_a_wrong_password_gets_none(stranger, cat):
    """A wrong password and an unknown name are the same 401: neither says which it was."""
    wrong = ask(stranger, username=cat, password="x")
    unknown = ask(stranger, username="nobody", password="x")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()


def test_an_inactive_user_gets_none(stranger, cat, django_user_model):
    """The right password of a user who is switched off is a 401 as well."""
    django_user_model.objects.filter(username=cat).update(is_active=False)
    assert ask(stranger, username=cat, password=PASSWORD).status_code == 401


def test_only_failures_are_throttled(stranger, cat):
    """Right passwords never wait; after five wrong ones, everybody with that name does."""
    for _ in range(10):
        assert ask(stranger, username=cat, password=PASSWORD).status_code == 200
    statuses = [ask(stranger, username="victim", password=f"{n}").status_code for n in range(6)]
    assert statuses == [401] * 5 + [429]
    assert ask(stranger, username=cat, password=PASSWORD).status_code == 200


def test_failures_at_the_same_time_are_throttled_too(stranger):
    """Of twelve guesses that nobody waits for, five are told that they were wrong."""
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(ask, stranger, username="prey", password=f"{n}") for n in range(12)]
    statuses = sorted(answer.result().status_code for answer in asked)
    assert statuses == [401] * 5 + [429] * 7


# --- using it


async def test_a_token_opens_a_socket_from_anywhere(new_token, with_token):
    """No cookie and no Origin is needed, and a foreign Origin does no harm."""
    for origin in [None, "https://elsewhere.example"]:
        socket = await with_token(new_token(), origin=origin)
        await say(socket, "hi")
        assert (await hear(socket))["username"] == "ann"


async def test_a_token_wins_over_a_cookie(new_token, with_token, bens_session):
    """With both, it is the token's user who speaks."""
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
    """A token cannot be used twice by being fast."""
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
    "a changed signature": lambda token: token[:-1] + ("a" if token[-1] != "a" else "b"),
    "a changed content": lambda token: ("f" if token[0] == "e" else "e") + token[1:],
    "a signature for something else": lambda token: sign(token, salt="password reset"),
    "a signature with another key": lambda token: sign(token, key="another" * 10),
}


@pytest.mark.parametrize("make_bad", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
async def test_a_bad_token_is_refused_even_with_a_good_cookie(
    new_token, with_token, session, make_bad
):
    """A token that is no good is closed with 4001, and never falls back to the cookie."""
    socket = await with_token(make_bad(new_token()), session=session)
    assert await refusal(socket) == SIGNED_OUT


async def test_a_token_lives_for_30_seconds(new_token, with_token):
    """Shortly before, it opens a socket; afterwards, it is worthless."""
    socket = await with_token(sign(new_token(), age=28))
    await say(socket, "just in time")
    assert (await hear(socket))["message"] == "just in time"
    assert await refusal(await with_token(sign(new_token(), age=31))) == SIGNED_OUT


async def test_the_token_of_somebody_switched_off_is_refused(new_token, with_token, ann):
    """Between the token and the socket, a user may have become inactive."""
    token = new_token()
    ann.is_active = False
    await ann.asave()
    assert await refusal(await with_token(token)) == SIGNED_OUT


async def test_no_flood_makes_a_used_token_good_again(client, async_client, join, ann):
    """Used tokens are remembered while they live, whatever else the server has to remember."""
    # All inside this process, as so many requests take their time through a network.
    await async_client.aforce_login(ann)
    answer = await async_client.post("/api/token/")
    assert answer.status_code == 200
    path = f"/ws/chat/lobby/?token={answer.json()['token']}"
    first = await join(path)

    def flood():
        for number in range(320):
            guess = {"username": f"guess{number}", "password": "x"}
            assert client.post("/api/token/", guess).status_code == 401

    await sync_to_async(flood)()
    second = await join(path)
    assert (await second.receive_output()).get("code") == SIGNED_OUT
    await first.disconnect()
