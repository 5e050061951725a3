"""The tests share the step's own server, and sockets opened as a browser opens them."""

from contextlib import AsyncExitStack

import pytest
import requests
import websockets
from channels.testing import WebsocketCommunicator
from django.conf import settings

from config.asgi import application

from .helpers import SECONDS
from .server import Server

SOCKET = "/ws/chat/lobby/"


@pytest.fixture(scope="session")
def server(django_db_setup, tmp_path_factory):
    """Run the step's server on the tests' database, once for all tests."""
    log = tmp_path_factory.mktemp("server") / "log"
    server = Server(
        log,
        DJANGO_SETTINGS_MODULE="tests.settings",
        TEST_DATABASE=str(settings.DATABASES["default"]["NAME"]),
    )
    server.start()
    yield server
    server.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Show the end of the server's log with each failure: the reason is often there."""
    report = yield
    if report.failed and "server" in item.funcargs:
        report.sections.append(
            ("Log of the server", item.funcargs["server"].last_lines())
        )
    return report


@pytest.fixture
async def connect(server):
    """Return a function that opens a socket as our page does. All are closed at the end."""
    async with AsyncExitStack() as sockets:

        async def connect(path=SOCKET, **options):
            # No limit to the frames that wait: a test need not read everything.
            options = {"origin": server.url, "max_queue": None, **options}
            options = {"open_timeout": SECONDS, "close_timeout": SECONDS, **options}
            connection = websockets.connect(f"ws://{server.host}{path}", **options)
            return await sockets.enter_async_context(connection)

        yield connect


@pytest.fixture
async def socket(connect):
    """Open one socket."""
    return await connect()


@pytest.fixture
def join():
    """Return a function that connects a client in this process: no server, no network."""

    async def join(path=SOCKET):
        headers = [(b"origin", b"http://localhost")]
        communicator = WebsocketCommunicator(application, path, headers=headers)
        connected, subprotocol = await communicator.connect(SECONDS)
        assert connected
        return communicator

    return join


class Visitor(requests.Session):
    """An HTTP client with cookies for our server: ``visitor.get("/")``."""

    def __init__(self, url):
        super().__init__()
        self.url = url

    def request(self, method, path, **options):
        """Send a request for a path of our server, and return the response."""
        return super().request(method, self.url + path, timeout=SECONDS, **options)


@pytest.fixture
def visitor(server):
    """Return an HTTP client for a person who may see the pages."""
    with Visitor(server.url) as visitor:
        yield visitor


@pytest.fixture
def page(visitor):
    """Return the HTML of the page where people write."""
    return visitor.get("/chat/lobby/").text
