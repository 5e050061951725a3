"""Daphne's limits: the README of step 5 names those that the tests find, and no others."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from course.checks.production.daphne import LIMITS, is_limited
from course.core.ports import answers, free_port
from course.core.processes import wait_until
from course.core.steps import ROOT
from course.stack import SERVERS

README = (ROOT / "step05_deploy" / "README.md").read_text("utf-8")
# An application that closes each socket with the code in its path.
CLOSE = """
async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": int(scope["path"][1:])})
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


@pytest.mark.skipif(os.name == "nt", reason="signals to processes are those of Linux and macOS")
@pytest.mark.parametrize("server", SERVERS)
def test_close_codes_of_an_application(tmp_path, server):
    """Both servers send our codes; Daphne refuses to send 1012, a code for servers."""
    (tmp_path / "asgi.py").write_text(CLOSE)
    port = free_port()
    option = "-p" if server == "daphne" else "--port"
    command = [sys.executable, "-m", server, option, str(port), "asgi:application"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        assert wait_until(lambda: answers(port), 20), (tmp_path / "log").read_text()
        codes = {}
        for code in (1000, 4001, 4008, 4013, 1012):
            with connect(f"ws://127.0.0.1:{port}/{code}") as socket:
                with pytest.raises(ConnectionClosed):
                    socket.recv(timeout=30)
                codes[code] = socket.close_code
    finally:
        process.kill()
        process.wait()
    refused = is_limited(server, "Close codes other than 1000 and 3000 to 4999 are refused")
    assert codes.pop(1012) == (1011 if refused else 1012)
    assert [*codes] == [*codes.values()]
