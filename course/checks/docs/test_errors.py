"""The errors of docs/errors.md in consumers and pages: each is provoked, seen, and cured."""

from inspect import signature
from pathlib import Path

import pytest
import requests
from daphne.server import Server as Daphne
from websockets.exceptions import ConnectionClosed

from course.checks.docs.provoke import PASSWORD, ROOT, SECONDS, TEST, TESTS, entries
from course.core.processes import wait_until

# Open a socket; return the close code, or the word that came before it.
OPEN = """([path, length]) => new Promise((resolve) => {
    const socket = new WebSocket(`ws://${location.host}/ws/${path}`);
    socket.onclose = (event) => resolve(event.code);
    socket.onmessage = (event) => resolve(event.data.slice(0, 9));
    if (length) socket.onopen = () => socket.send("x".repeat(length));
})"""


@pytest.fixture
def console(browser):
    """Return a function that opens a socket in a page: its answer or code, and the console."""
    page = browser.new_page()
    lines = []
    page.on("console", lambda message: lines.append(message.text))

    def console(server, path, length=0):
        lines.clear()
        page.goto(f"{server.origin}/accounts/login/")
        return page.evaluate(OPEN, [path, length]), "\n".join(lines)

    yield console
    page.close()


def sign_in(server):
    """Return Ann's browser, and the headers of her sockets."""
    visitor = requests.Session()
    url = f"{server.origin}/accounts/login/"
    token = visitor.get(url, timeout=SECONDS).cookies["csrftoken"]
    form = {"username": "ann", "password": PASSWORD, "csrfmiddlewaretoken": token}
    visitor.post(url, form, timeout=SECONDS).raise_for_status()
    return visitor, {"Cookie": f"sessionid={visitor.cookies['sessionid']}"}


def test_each_entry_has_its_test():
    """Each heading has one test, and each test of an error has one heading."""
    linked = []
    for title, body in entries().items():
        found = TEST.findall(body)
        assert len(found) == 1, f"{title} links {len(found)} tests."
        linked += found
    tests = []
    for file in Path(__file__).parent.glob("test_errors*.py"):
        path = file.relative_to(ROOT).as_posix()
        tests += [(name, path) for name in TESTS.findall(file.read_text("utf-8"))]
    assert sorted(linked) == sorted(tests)


def test_no_handler(heading, daphne, uvicorn):
    """A misspelt type ends every member of the group."""
    with daphne.open("misspelt/") as neighbour:
        assert daphne.answer("misspelt/") == 1011
        with pytest.raises(ConnectionClosed):
            neighbour.recv(SECONDS)
    assert daphne.shows(heading.is_in)
    assert uvicorn.answer("misspelt/") is None  # without a close frame, a browser sees 1006
    assert daphne.answer("member/") == "hello"


def test_never_awaited(heading, daphne, uvicorn):
    """Nobody hears the event; uvicorn shows the warning, and Daphne does not."""
    for server in (daphne, uvicorn):
        with server.open("member/") as member, server.open("notawaited/") as wrong:
            wrong.send("lost")
            assert wrong.ping().wait(SECONDS)  # the server has read the frame
            assert server is daphne or server.shows(heading.is_in)
            member.send("heard")
            assert member.recv(SECONDS) == wrong.recv(SECONDS) == "heard"
    assert not heading.is_in(daphne.text)


def test_orm_in_async_code(heading, daphne):
    """The ORM refuses the event loop, and works in a thread."""
    assert daphne.answer("query/") == 1011
    assert daphne.shows(heading.is_in)
    assert daphne.answer("querycured/").isdecimal()


def test_async_to_sync_in_async_code(heading, daphne):
    """`async_to_sync` refuses the event loop; `await` is enough."""
    assert daphne.answer("tosync/") == 1011
    assert daphne.shows(heading.is_in)
    assert daphne.answer("member/") == "hello"


def test_no_route(heading, daphne, console):
    """A path that routing.py does not know is an error of the server."""
    code, shown = console(daphne, "nothing/")
    assert (code, "Unexpected response code: 500" in shown) == (1006, True)
    assert daphne.shows(heading.is_in)
    for path in ("member", "word/test-room/"):  # without the last slash; with a hyphen
        assert daphne.refusal(path) == 500
    assert daphne.answer("member/") == "hello"


def test_foreign_origin(heading, daphne, uvicorn, other):
    """A foreign origin is refused, until ALLOWED_HOSTS has its host."""
    origin = "https://app.example"
    assert daphne.refusal("whoami/", origin=origin) == 403
    assert daphne.refusal("whoami/", origin=None) == 403
    assert daphne.shows(heading.is_in)
    assert uvicorn.refusal("whoami/", origin=origin) == 403
    assert uvicorn.shows(lambda text: "connection rejected (403 Forbidden)" in text)
    assert other.answer("whoami/", origin=origin) == "AnonymousUser"


def test_close_before_accept(heading, daphne, uvicorn, console):
    """A close code arrives only after `accept`."""
    for server in (daphne, uvicorn):
        code, shown = console(server, "refused/")
        assert (code, heading.is_in(shown)) == (1006, True)
        assert console(server, "refusedcured/")[0] == 4001


def test_never_accepted(heading, daphne, console):
    """Daphne drops a handshake after five seconds; `accept` in time is the cure."""
    code, shown = console(daphne, "waits/")
    assert (code, heading.is_in(shown)) == (1006, True)
    assert console(daphne, "waitscured/")[0] == "ready"
    assert "WebSocket opening handshake timeout" not in daphne.text
    assert signature(Daphne).parameters["websocket_handshake_timeout"].default == 5


def test_handler_never_ends(heading, daphne):
    """A loop in a handler is killed after ten seconds; a task ends with its connection."""
    for path in ("ticker/", "tickercured/"):
        assert daphne.answer(path) == "tick"

    def killed(path):
        lines = [line for line in daphne.text.splitlines() if heading.is_in(line)]
        return any(f"path=b'/ws/{path}/'" in line for line in lines)

    assert daphne.shows(lambda text: killed("ticker"))
    assert not killed("tickercured")


def test_a_send_during_the_farewell(heading, daphne):
    """A client says goodbye while much is on its way to it: the next send ends its consumer."""
    for path, left in [("farewell/", "2"), ("farewellcured/", "1")]:
        with daphne.open(path) as stays:
            leaves = daphne.open(path, max_queue=1)  # it stops reading
            for _ in range(20):
                stays.send("x" * 500_000)
                stays.recv(SECONDS)
            leaves.protocol.send_close(1001)
            leaves.socket.sendall(b"".join(leaves.protocol.data_to_send()))
            before = daphne.text

            def ended(socket=stays, before=before):
                socket.send("hello")
                socket.recv(SECONDS)
                return heading.is_in(daphne.text.removeprefix(before))

            assert wait_until(ended, SECONDS)
            stays.send("count")
            assert stays.recv(SECONDS) == left
            leaves.socket.close()


def test_no_layer(heading, other, daphne):
    """Without CHANNEL_LAYERS there is no layer."""
    assert other.refusal("member/") == 500
    assert other.shows(heading.is_in)
    assert "System check identified no issues" in other.text
    assert daphne.answer("member/") == "hello"


def test_consumer_among_the_views(heading, daphne):
    """Django calls a view with a request; a consumer belongs into routing.py."""
    url = f"{daphne.origin}/consumer/"
    assert requests.get(url, timeout=SECONDS).status_code == 500
    assert daphne.shows(heading.is_in)
    assert daphne.answer("member/") == "hello"


def test_class_among_the_routes(heading, daphne):
    """`as_asgi()` is missing in routing.py."""
    assert daphne.refusal("class/") == 500
    assert daphne.shows(heading.is_in)
    assert daphne.answer("member/") == "hello"


def test_django_alone(heading, daphne):
    """Django itself does not answer a socket."""
    assert daphne.refusal("plain/") == 500
    assert daphne.shows(heading.is_in)
    assert daphne.answer("member/") == "hello"


def test_name_of_a_group(heading, daphne):
    """A group's name has ASCII letters only; a digest is always valid."""
    for name in ("my%20room", "%E6%97%A5%E6%9C%AC%E8%AA%9E"):
        assert daphne.refusal(f"named/{name}/") == 500
        assert daphne.shows(heading.is_in)
        assert daphne.answer(f"namedcured/{name}/") == "hello"


def test_large_frame(heading, daphne, uvicorn, other, console):
    """Daphne ends the connection above 1 MiB; a setting raises the limit."""
    assert console(daphne, "echo/", 1024 * 1024)[0] == "xxxxxxxxx"
    assert console(daphne, "echo/", 1024 * 1024 + 1) == (1006, "")
    assert console(uvicorn, "echo/", 1024 * 1024 + 1)[0] == "xxxxxxxxx"
    assert console(other, "echo/", 1024 * 1024 + 1)[0] == "xxxxxxxxx"


def test_streaming(heading, daphne, uvicorn):
    """An ordinary generator is read as a whole; uvicorn shows the warning, and Daphne does not."""
    for server in (daphne, uvicorn):
        answer = requests.get(f"{server.origin}/stream-cured/", timeout=SECONDS)
        assert answer.text == "onetwo"
        assert not heading.is_in(server.text)
        answer = requests.get(f"{server.origin}/stream/", timeout=SECONDS)
        assert answer.text == "onetwo"
    assert uvicorn.shows(heading.is_in)
    assert not heading.is_in(daphne.text)


def test_nobody_signed_in(heading, daphne):
    """A client without a session cookie is anonymous; a token says who it is."""
    token = {"Authorization": "Bearer eyJ1c2VyIjox"}
    assert heading.is_in(daphne.answer("whoami/", additional_headers=token))
    url = f"{daphne.origin}/api/token/"
    form = {"username": "ann", "password": PASSWORD}
    token = requests.post(url, form, timeout=SECONDS).json()["token"]
    assert daphne.answer(f"whoami/?token={token}", origin=None) == "ann"


def test_signed_out(heading, daphne):
    """The scope keeps the user after a sign-out; step 4 closes the socket."""
    visitor, headers = sign_in(daphne)
    options = {"additional_headers": headers}
    with (
        daphne.open("whoami/", **options) as socket,
        daphne.open("chat/lobby/", **options) as cured,
    ):
        url = f"{daphne.origin}/accounts/logout/"
        token = {"csrfmiddlewaretoken": visitor.cookies["csrftoken"]}
        visitor.post(url, token, timeout=SECONDS).raise_for_status()
        with pytest.raises(ConnectionClosed) as caught:
            cured.recv(SECONDS)
        assert caught.value.rcvd.code == 4001
        socket.send("who am I?")
        assert socket.recv(SECONDS) == "ann"
    assert daphne.answer("whoami/", **options) == "AnonymousUser"


def test_slow_handler(heading, daphne):
    """A slow handler holds up its own client only; with a task, it holds up nobody."""
    with daphne.open("slow/") as socket, daphne.open("slow/") as other:
        socket.send("slow")
        socket.send("second")
        other.send("meanwhile")
        assert other.recv(SECONDS) == "meanwhile, released: False"
        other.send("release")
        assert socket.recv(SECONDS) == "slow, released: True"
        assert socket.recv(SECONDS) == "second, released: True"
    with daphne.open("slowcured/") as socket:
        socket.send("slow")
        socket.send("second")
        assert socket.recv(SECONDS) == "second, released: False"


def test_no_styles(heading, daphne, uvicorn, console):
    """uvicorn serves no static files; `runserver` does."""
    assert heading.is_in(console(uvicorn, "echo/", 1)[1])
    assert console(daphne, "echo/", 1) == ("x", "")
