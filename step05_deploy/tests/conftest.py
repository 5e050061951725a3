"""What the tests share: the step's own server, and sockets as a browser opens them."""

from contextlib import AsyncExitStack

import pytest
import requests
import websockets
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models.signals import post_migrate

from config.asgi import application

from .helpers import session_cookie
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


@pytest.fixture(autouse=True)
def empty_database(transactional_db):
    """Empty all tables after each test: the server and the tests see the same rows."""
    # Django would write all permissions anew each time, which takes longer than most tests.
    post_migrate.disconnect(
        dispatch_uid="django.contrib.auth.management.create_permissions"
    )


@pytest.fixture
def ann(empty_database):
    """Return a user, who has no password yet."""
    return get_user_model().objects.create_user("ann")


@pytest.fixture
def session(ann):
    """Return the value of Ann's ``sessionid`` cookie."""
    return session_cookie(ann)


@pytest.fixture
def bens_session(empty_database):
    """Return the value of somebody else's ``sessionid`` cookie."""
    return session_cookie(get_user_model().objects.create_user("ben"))


@pytest.fixture
async def connect(server, session):
    """Return a function that opens a socket as our page does; all are closed afterwards.

    It is Ann who opens them, unless the test says ``session=None``, or somebody else's.
    """
    async with AsyncExitStack() as sockets:

        async def connect(path=SOCKET, session=session, server=server, **options):
            headers = {"Cookie": f"sessionid={session}"} if session else {}
            # No limit to what waits to be read, so that a test need not read everything.
            defaults = {
                "origin": server.url,
                "additional_headers": headers,
                "max_queue": None,
            }
            options = {**defaults, **options}
            connection = websockets.connect(f"ws://{server.host}{path}", **options)
            return await sockets.enter_async_context(connection)

        yield connect


@pytest.fixture
async def socket(connect):
    """Open one socket."""
    return await connect()


@pytest.fixture
def join(session):
    """Return a function that connects Ann inside this process: no server, no network."""

    async def join(path=SOCKET):
        cookie = f"sessionid={session}".encode()
        headers = [(b"origin", b"http://localhost"), (b"cookie", cookie)]
        communicator = WebsocketCommunicator(application, path, headers=headers)
        connected, _ = await communicator.connect()
        assert connected
        return communicator

    return join


class Visitor(requests.Session):
    """An HTTP client with cookies that asks our server: ``visitor.get("/")``."""

    def __init__(self, url):
        super().__init__()
        self.url = url

    def request(self, method, path, **options):
        """Ask for a path of our server, and return its response."""
        return super().request(method, self.url + path, **options)


@pytest.fixture
def stranger(server):
    """Return an HTTP client for somebody who has not signed in."""
    with Visitor(server.url) as stranger:
        yield stranger


@pytest.fixture
def visitor(server, session):
    """Return Ann's HTTP client."""
    with Visitor(server.url) as visitor:
        visitor.cookies["sessionid"] = session
        yield visitor


@pytest.fixture
def page(visitor):
    """Return the HTML of the page where people write."""
    return visitor.get("/chat/lobby/").text
