"""Daphne's limits: the README of step 5 names those that the tests find, and no others."""

import os
import re
import signal
import socket as sockets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from course.checks.production.clients import connect_narrowly
from course.checks.production.daphne import LIMITS, is_limited
from course.checks.production.wire import HANDSHAKE
from course.core.ports import free_port
from course.core.processes import wait_until
from course.core.steps import ROOT
from course.stack.part import Part
from course.stack.stack import SERVERS

README = (ROOT / "step05_deploy" / "README.md").read_text("utf-8")
# An application that closes each socket with the code in its path; after 0, it first sends 64 MiB.
APPLICATION = """
async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        code = int(scope["path"][1:])
        for _ in range(0 if code else 64):
            await send({"type": "websocket.send", "bytes": bytes(1 << 20)})
        print("sent", code, flush=True)
        await send({"type": "websocket.close", "code": code})
"""


def test_the_readme_names_each_limit():
    """The table has each limit in the words of `LIMITS`, with the address of its report."""
    table = README.partition("#### Daphne's limits")[2].partition("\n#")[0]
    rows = re.findall(r"^\| ([A-Z].*?) \|(.*)\|$", table, re.MULTILINE)
    assert [name for name, _ in rows] == list(LIMITS)
    for name, row in rows:
        assert (LIMITS[name] or "not reported so far") in row, name


def test_each_limit_is_found_by_a_test():
    """A test in this folder calls `is_limited` for each limit."""
    files = [file.read_text("utf-8") for file in Path(__file__).parent.glob("test_*.py")]
    text = re.sub(r'"\s*\n\s*"', "", "".join(files))
    for name in LIMITS:
        assert re.search(rf'is_limited\([\w.]+, "{name}"\)', text), name


@pytest.fixture
def site(tmp_path: Path, server: str) -> Iterator[tuple[str, Path]]:
    """Run the application on a kind of server; yield address and log."""
    (tmp_path / "asgi.py").write_text(APPLICATION)
    port = free_port()
    option = "-p" if server == "daphne" else "--port"
    command = [sys.executable, "-m", server, option, str(port), "asgi:application"]
    part = Part(server, command, port, tmp_path, tmp_path / "log")
    part.start()
    yield f"ws://{part.address}", part.log
    part.stop(signal.SIGKILL)


def is_waited_for(url: str) -> bool:
    """Read a close frame and do not answer; tell whether the connection stays for three seconds."""
    address = url.removeprefix("ws://")
    host, _, port = address.partition(":")
    with sockets.create_connection((host, int(port)), 3) as client:
        client.sendall(f"GET /4008 HTTP/1.1\r\nHost: {address}\r\n{HANDSHAKE}\r\n".encode())
        try:
            while client.recv(1024):
                pass
        except TimeoutError:
            return True
        except ConnectionError:
            pass
        return False


@pytest.mark.skipif(os.name == "nt", reason="signals to processes are those of Linux and macOS")
@pytest.mark.parametrize("server", SERVERS)
def test_what_a_server_makes_of_an_application(site: tuple[str, Path], server: str) -> None:
    """Both servers send our codes; Daphne refuses to send 1012, a code for servers.

    uvicorn lets an application wait for a client that does not read. Daphne takes everything.
    """
    url, log = site
    codes = {}
    for code in (1000, 4001, 4008, 4013, 1012):
        with connect(f"{url}/{code}") as socket:
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=30)
            codes[code] = socket.close_code
    refused = is_limited(server, "Close codes other than 1000 and 3000 to 4999 are refused")
    assert codes.pop(1012) == (1011 if refused else 1012)
    assert [*codes] == [*codes.values()]
    hurried = is_limited(server, "A client has less than a second to answer a close frame")
    assert is_waited_for(url) != hurried
    kept = is_limited(server, "No back-pressure for a client that does not read")
    narrow = {"sock": connect_narrowly(url), "compression": None}
    with connect(f"{url}/0", **narrow, max_queue=1, close_timeout=0):
        assert wait_until(lambda: "sent 0\n" in log.read_text(), 30 if kept else 3) == kept
