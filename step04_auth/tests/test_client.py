"""client.py: chat from a terminal."""

import asyncio
import importlib
import io
import os
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from .helpers import hear, say, socket_path, submit
from .server import STEP

PASSWORD = "correct horse battery"


@pytest.fixture
def cat(stranger):
    """Sign up somebody with a password, and return her name."""
    fields = {"username": "cat", "password1": PASSWORD, "password2": PASSWORD}
    submit(stranger, "/accounts/signup/", **fields)
    return "cat"


@contextmanager
def terminal_client(
    server, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
):
    """Run client.py in a process of its own."""
    command = [sys.executable, "client.py", "--server", server.url, *arguments]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(
        command,
        cwd=STEP,
        env=environment,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        encoding="utf-8",
    ) as client:
        try:
            yield client
        finally:
            client.kill()


def write(client, line):
    """Type one line."""
    client.stdin.write(f"{line}\n")
    client.stdin.flush()


async def test_a_terminal_and_a_browser_chat(server, connect, cat):
    """What one says the other hears, with names; the end of the input ends the client."""
    browser = await connect(socket_path("日本語"))
    with terminal_client(server, cat, "--room", "日本語") as client:
        write(client, PASSWORD)
        assert "Connected" in client.stdout.readline()
        write(client, "hi from a terminal 🎉")
        frame = await hear(browser)
        assert (frame["username"], frame["message"]) == ("cat", "hi from a terminal 🎉")
        assert client.stdout.readline() == "cat: hi from a terminal 🎉\n"

        await say(browser, "hi from a browser")
        assert client.stdout.readline() == "ann: hi from a browser\n"

        client.stdin.close()
        assert client.wait(10) == 0
        assert PASSWORD not in client.stdout.read()
        assert PASSWORD not in " ".join(client.args)


def test_the_last_line_may_be_refused(server, cat):
    """A script that pipes lines into the client sees why, though its input has ended."""
    with terminal_client(server, cat) as client:
        output, _ = client.communicate(f"{PASSWORD}\n{'x' * 1001}\n", timeout=10)
    assert "The message has 1,001 characters; 1,000 is the limit." in output
    assert client.returncode == 0


def test_the_address_may_end_with_a_slash(server, cat):
    """As it does where people copy it from."""
    with terminal_client(server, cat, "--server", f"{server.url}/") as client:
        write(client, PASSWORD)
        assert "Connected" in client.stdout.readline()


async def test_control_characters_are_not_shown(server, connect, cat):
    """They could clear the screen, or begin a line that looks like somebody else's."""
    browser = await connect()
    with terminal_client(server, cat) as client:
        write(client, PASSWORD)
        assert "Connected" in client.stdout.readline()
        await say(browser, "\x1b[2J\x9b2J\x7f\r\ncat: 日本\u3000👩\u200d👧")
        assert client.stdout.readline() == "ann: �[2J�2J���cat: 日本\u3000👩\u200d👧\n"


async def test_the_client_ends_when_nobody_reads_it(server, connect, cat):
    """As after ``| head -1``: without a word, at the next line that it would show."""
    browser = await connect()
    with terminal_client(server, cat, stderr=subprocess.PIPE) as client:
        write(client, PASSWORD)
        assert "Connected" in client.stdout.readline()
        client.stdout.close()
        await say(browser, "anybody there?")
        assert client.wait(10) == 1
        assert client.stderr.read() == ""


def test_what_is_typed_too_late_is_ignored(monkeypatch):
    """The client has ended, and its event loop with it: the thread that reads has no complaint."""
    assert (STEP / "client.py").exists()
    client = importlib.import_module("client")
    loop = asyncio.new_event_loop()
    loop.close()
    monkeypatch.setattr("sys.stdin", io.StringIO("too late\n"))
    # The thread's work, done here: what it raises, the test raises.
    monkeypatch.setattr("threading.Thread", lambda target, daemon: SimpleNamespace(start=target))
    client.read_input(loop, asyncio.Queue())


def test_a_wrong_password_ends_the_client(server, cat):
    """One sentence, and an exit code that a script can see."""
    with terminal_client(server, cat) as client:
        output, _ = client.communicate("wrong\n", timeout=10)
    assert output == "The username or the password is wrong.\n"
    assert client.returncode == 1


def test_signing_out_ends_the_client(server, cat, stranger):
    """The server closes the socket; the client says why and stops."""
    with terminal_client(server, cat) as client:
        write(client, PASSWORD)
        assert "Connected" in client.stdout.readline()
        submit(stranger, "/chat/", to="/accounts/logout/")
        assert client.stdout.readline() == "Signed out.\n"
        assert client.wait(10) == 1


def test_the_password_is_not_shown_while_it_is_typed(server, cat):
    """On a terminal, the client asks for the password, and does not echo it."""
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    keyboard, terminal = pty.openpty()
    with terminal_client(server, cat, stdin=terminal, stdout=terminal):
        os.close(terminal)
        seen = ""
        for expected, typed in [("Password:", PASSWORD), ("Connected", "hi"), ("cat: hi", "")]:
            while expected not in seen:
                seen += os.read(keyboard, 1024).decode()
            os.write(keyboard, f"{typed}\n".encode())
    os.close(keyboard)
    assert PASSWORD not in seen
