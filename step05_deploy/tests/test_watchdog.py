"""A worker tells systemd that it runs. One that hangs says nothing, and is ended."""

import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from .server import STEP, UvicornWorker, unit_command

EVERY = 0.1  # seconds between two messages to systemd: half of its limit

unix = pytest.mark.skipif(os.name == "nt", reason="systemd and SIGSTOP are Linux")

# An application whose event loop stops at the first request.
HANGS = """
import time
from pathlib import Path
from config.asgi import application as ours

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        return await ours(scope, receive, send)
    time.sleep(30)
"""


@pytest.fixture
def systemd(tmp_path):
    """Return the socket to which a worker writes, where systemd would read."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        yield systemd


def start(systemd, folder, kind=UvicornWorker):
    """Start a worker as systemd does for ``WatchdogSec=``."""
    worker = kind(
        folder / "log",
        NOTIFY_SOCKET=systemd.getsockname(),
        WATCHDOG_USEC=str(int(2 * EVERY * 1_000_000)),
        PYTHONPATH=str(folder),
        PYTHONFAULTHANDLER="1",
    )
    worker.start()
    return worker


def is_silent(systemd):
    """Read what was said so far; return whether nothing more comes."""
    systemd.settimeout(5 * EVERY)
    until = time.monotonic() + 50 * EVERY
    while time.monotonic() < until:
        try:
            systemd.recv(100)
        except TimeoutError:
            return True
    return False


@unix
def test_a_worker_says_that_it_runs(systemd, tmp_path):
    """Again and again, until it is told to stop."""
    worker = start(systemd, tmp_path)
    try:
        said = {systemd.recv(100) for _ in range(5)}
        assert said == {b"WATCHDOG=1"}
        worker.stop()
        assert is_silent(systemd)
    finally:
        worker.kill()


@unix
def test_a_message_that_is_refused_is_not_the_last(systemd, tmp_path):
    """systemd closes its socket when it is itself started again."""
    address = systemd.getsockname()
    worker = start(systemd, tmp_path)
    try:
        assert systemd.recv(100) == b"WATCHDOG=1"
        systemd.close()
        time.sleep(3 * EVERY)
        Path(address).unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
            again.bind(address)
            again.settimeout(5)
            assert again.recv(100) == b"WATCHDOG=1"
    finally:
        worker.kill()


class Hanging(UvicornWorker):
    def command(self):
        """Return the command, with another application."""
        command = unit_command("uvicorn", self.port)
        return ["hangs:application" if ":" in word else word for word in command]


@unix
def test_a_worker_that_hangs_says_nothing(systemd, tmp_path):
    """Its threads still run. When systemd ends it, the log shows the line that hung."""
    (tmp_path / "hangs.py").write_text(HANGS)
    worker = start(systemd, tmp_path, Hanging)
    try:
        assert systemd.recv(100) == b"WATCHDOG=1"
        with socket.create_connection(("127.0.0.1", worker.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert is_silent(systemd)
            worker.process.send_signal(signal.SIGABRT)  # systemd's first signal
            assert worker.process.wait(5) == -signal.SIGABRT
        assert "hangs.py" in worker.last_lines()
    finally:
        worker.kill()


@unix
def test_a_worker_without_systemd_just_runs(tmp_path):
    """In a container, or started by hand, nobody listens."""
    worker = UvicornWorker(tmp_path / "log")
    worker.start()
    worker.stop()
    assert "Traceback" not in worker.last_lines()


def test_the_unit_asks_for_it():
    """With it comes Python's own report of what every thread does."""
    unit = STEP / "deploy" / "chat@.service"
    assert unit.exists(), "deploy/chat@.service is missing"
    unit = unit.read_text("utf-8")
    assert re.search(r"^WatchdogSec=\d+$", unit, re.MULTILINE)
    assert re.search(r"^Environment=PYTHONFAULTHANDLER=1$", unit, re.MULTILINE)
