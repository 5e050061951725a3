"""The errors of docs/errors.md at the start, and with services: each provoked, seen, and cured."""

import os
import sys
import tempfile
import uuid
from decimal import Decimal
from importlib.util import find_spec
from inspect import signature
from pathlib import Path

import pytest
from channels_redis.core import RedisChannelLayer
from uvicorn import Config
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from course.checks.docs.provoke import RUNSERVER, SECONDS, UVICORN, Server
from course.core.ports import HOST, free_port
from course.stack.part import Part
from course.stack.programs import find_programs
from course.stack.services import NGINX_MAIN, postgres

# Send to a group from a second process, over two layers.
SEND = """
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
for layer in ("default", "patient"):
    send = async_to_sync(get_channel_layer(layer).group_send)
    send("members", {"type": "chat.message", "text": "from a second process"})
    send("members", {"type": "chat.message", "text": "once more"})
"""
# uvicorn on a machine that has neither websockets nor wsproto.
BARE = """
import sys
sys.modules["websockets"] = sys.modules["wsproto"] = None
from uvicorn.main import main
main()
"""
EARLY = '''
"""The entry point, with an import too early."""

import os

from channels.routing import ProtocolTypeRouter
from chat.routing import websocket_urlpatterns
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = ProtocolTypeRouter({"http": get_asgi_application()})
'''
# Two proxies without patience, in front of two servers.
PROXIES = """
map $http_upgrade $hop {{ default upgrade; "" close; }}
proxy_set_header Upgrade $http_upgrade;
proxy_set_header Connection $hop;
proxy_set_header Host $http_host;
proxy_http_version 1.1;
proxy_read_timeout 3s;
error_log stderr info;
server {{ listen {first}; location / {{ proxy_pass http://{rare}; }} }}
server {{ listen {second}; location / {{ proxy_pass http://{often}; }} }}
"""
DATABASE = """
DATABASES = {{"default": {{
    "ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "chat",
    "PASSWORD": "secret", "HOST": "127.0.0.1", "PORT": {port}, "OPTIONS": {options},
}}}}
"""
# Ten queries at the same time, in ten threads, as a machine with six cores would have them.
QUERIES = """
import asyncio, threading
from concurrent.futures import ThreadPoolExecutor
from channels.db import database_sync_to_async
from django.db import connection

start = threading.Barrier(10)

def ask():
    start.wait()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep({seconds})")

async def main():
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(10))
    asks = [database_sync_to_async(ask, thread_sensitive=False)() for _ in range(10)]
    await asyncio.gather(*asks)

asyncio.run(main())
"""
# Two tests that store the same name, without and with `transaction=True`.
TESTS = """
import pytest
from django.contrib.auth.models import User

pytestmark = pytest.mark.asyncio

@pytest.mark.django_db
@pytest.mark.parametrize("number", [1, 2])
async def test_wrong(number):
    await User.objects.acreate(username="ann")

@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", [1, 2])
async def test_cured(number):
    await User.objects.acreate(username="ben")
"""


@pytest.fixture
def start(site):
    """Return a function that starts a server; it ends with the test."""
    servers = []

    def start(*words, **options):
        servers.append(Server(site, *words, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def test_sockets_are_not_found(heading, site, start, daphne):
    """Without Daphne's app, `runserver` knows no sockets."""
    settings = site.settings("without", 'INSTALLED_APPS.remove("daphne")')
    server = start(*RUNSERVER, settings=settings)
    assert server.refusal("echo/") == 404
    assert server.shows(heading.is_in)
    assert daphne.answer("echo/") == "hello"


def test_order_of_apps(heading, site, daphne):
    """Daphne after staticfiles is an error of the system check."""
    change = 'INSTALLED_APPS.remove("daphne")\nINSTALLED_APPS.append("daphne")'
    settings = site.settings("late", change)
    assert heading.is_in(site.run("manage.py", "runserver", "--noreload", settings=settings))
    assert "System check identified no issues" in daphne.text


def test_no_asgi_application(heading, site, daphne):
    """Daphne's `runserver` needs the setting."""
    settings = site.settings("unset", "del ASGI_APPLICATION")
    assert heading.is_in(site.run("manage.py", "runserver", "--noreload", settings=settings))
    assert "Starting ASGI/Daphne" in daphne.text


def test_import_too_early(heading, site, uvicorn):
    """Consumers import models, so Django must have loaded the apps before."""
    (site.folder / "config" / "early.py").write_text(EARLY, "utf-8")
    said = site.run("-m", "uvicorn", "config.early:application", "--host", HOST, "--port", "1")
    assert heading.is_in(said)
    assert uvicorn.answer("echo/") == "hello"


def test_lifespan(heading, start, uvicorn):
    """The line is harmless, and `--lifespan off` ends it."""
    assert uvicorn.shows(heading.is_in)
    assert uvicorn.answer("echo/") == "hello"
    server = start(*UVICORN, "--lifespan", "off")
    assert server.answer("echo/") == "hello"
    assert not heading.is_in(server.text)


def test_no_websocket_library(heading, site, start, uvicorn):
    """uvicorn alone speaks no WebSocket; the package websockets is enough."""
    (site.folder / "bare.py").write_text(BARE, "utf-8")
    server = start("bare", *UVICORN[1:])
    assert server.refusal("echo/") == 404
    assert server.shows(heading.is_in)
    assert "Unsupported upgrade request." in server.text
    assert uvicorn.answer("echo/") == "hello"


def test_idle_sockets(heading, daphne, uvicorn):
    """With the defaults of redis-py 8, an idle socket ends; without the time limit, it stays."""
    with daphne.open("patient/") as cured:
        for server, code in ((daphne, 1011), (uvicorn, None)):
            with server.open("impatient/") as socket, pytest.raises(ConnectionClosed) as caught:
                socket.recv(SECONDS)
            assert (caught.value.rcvd and caught.value.rcvd.code) == code
            assert server.shows(heading.is_in)
        cured.send("still here")
        assert cured.recv(SECONDS) == "still here"


def test_no_redis(heading, daphne, uvicorn):
    """Nothing listens where Redis should be."""
    assert daphne.refusal("nobody/") == 500
    assert daphne.shows(heading.is_in)
    assert uvicorn.refusal("nobody/") == 500
    assert uvicorn.shows(lambda text: "Connection refused." in text)
    assert daphne.answer("patient/") == "hello"


def test_second_process(heading, site, daphne):
    """The layer in memory serves one process; Redis serves all."""
    with daphne.open("member/") as socket, daphne.open("patient/") as cured:
        assert site.run("manage.py", "shell", "-v", "0", "-c", SEND) == ""
        assert cured.recv(SECONDS) == "from a second process"
        socket.send("from the same process")
        assert socket.recv(SECONDS) == "from the same process"


def test_over_capacity(heading, daphne):
    """The core layer drops what does not fit; the Pub/Sub layer drops nothing."""
    for path in ("crowdinmemory/", "crowd/"):
        assert not heading.is_in(daphne.text)
        with daphne.open(path) as socket:
            heard = []
            for _ in range(2):  # the second time shows what never came of the first time
                socket.send("go")
                heard += [int(socket.recv(SECONDS)) for _ in range(100)]
        first = heard[: heard.index(1, 1)]
        assert first == list(range(1, len(first) + 1))
        assert len(first) < 110
    assert daphne.shows(heading.is_in)
    with daphne.open("crowdcured/") as socket:
        socket.send("go")
        heard = [int(socket.recv(SECONDS)) for _ in range(300)]
        assert heard == list(range(1, 301))


def test_no_datetime(heading, daphne):
    """The layer in memory carries any object; Redis carries what msgpack knows."""
    assert daphne.answer("datedinmemory/") == "hi"
    assert daphne.answer("dated/") == 1011
    assert daphne.shows(heading.is_in)
    assert "T" in daphne.answer("datedcured/")
    layer = RedisChannelLayer()
    for bad in (uuid.uuid4(), {1}, Decimal(1), object()):
        with pytest.raises(TypeError):
            layer.serialize({"type": "chat.message", "value": bad})
    for good in ("hi", b"hi", 1, 1.5, True, None, [1], {"a": 1}):
        assert layer.serialize({"type": "chat.message", "value": good})


def test_rows_of_another_test(heading, site):
    """Queries of an async test leave the test's transaction, unless the test has none."""
    (site.folder / "test_rows.py").write_text(TESTS, "utf-8")
    words = ["-m", "pytest", "-c", os.devnull, f"--rootdir={site.folder}", "test_rows.py"]
    said = site.run(*words, "-p", "no:cacheprovider")
    assert heading.is_in(said)
    assert "FAILED test_rows.py::test_wrong[2]" in said
    assert "1 failed, 3 passed" in said


def test_too_many_connections(heading, site):
    """Each thread has a connection of its own; a pool makes them wait for each other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)  # for the user who runs PostgreSQL
        program = find_programs(Path(sys.executable))["postgres"]
        database = postgres(program, folder, free_port(), "secret", connections=8)
        database.start()
        said = []
        try:
            for seconds, options in ((5, {}), (0.2, {"pool": {"min_size": 1, "max_size": 4}})):
                text = DATABASE.format(port=database.port, options=options)
                settings = site.settings(f"database{len(said)}", text)
                code = QUERIES.format(seconds=seconds)
                words = ["manage.py", "shell", "-v", "0", "-c", code]
                said.append(site.run(*words, settings=settings))
        finally:
            database.stop()
    assert heading.is_in(said[0])
    assert said[1] == ""


def test_proxy_is_impatient(heading, uvicorn, start, tmp_path):
    """nginx ends a silent connection after `proxy_read_timeout`; pings come in time."""
    often = start(*UVICORN, "--ws-ping-interval", "0.2")
    ports = {"first": free_port(), "second": free_port()}
    addresses = {name: f"{HOST}:{port}" for name, port in ports.items()}
    site, main = tmp_path / "site.conf", tmp_path / "nginx.conf"
    site.write_text(PROXIES.format(rare=uvicorn.host, often=often.host, **addresses), "utf-8")
    user = "user root;" if os.getuid() == 0 else ""
    main.write_text(NGINX_MAIN.format(user=user, folder=tmp_path, site=site), "utf-8")
    program = str(find_programs(Path(sys.executable))["nginx"])
    command = [program, "-p", str(tmp_path), "-e", "stderr", "-c", str(main)]
    nginx = Part("nginx", command, ports["first"], tmp_path, tmp_path / "nginx.log")
    nginx.start()
    try:
        urls = [f"ws://{address}/ws/echo/" for address in addresses.values()]
        with connect(urls[1], origin=uvicorn.origin) as cured:
            with connect(urls[0], origin=uvicorn.origin) as socket, pytest.raises(ConnectionClosed):
                socket.recv(SECONDS)
            cured.send("still here")
            assert cured.recv(SECONDS) == "still here"
    finally:
        nginx.stop()
    assert heading.is_in(nginx.text)
    # The page says 20 seconds.
    assert signature(Config).parameters["ws_ping_interval"].default == 20
    (folder,) = find_spec("daphne").submodule_search_locations
    assert "ping_interval=20," in (Path(folder) / "server.py").read_text("utf-8")
