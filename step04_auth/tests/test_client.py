"""client.py: chat from a terminal."""

import os
import subprocess
import sys
from contextlib import contextmanager

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
def terminal_client(server, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE):
    """Run client.py in a process of its own."""
    command = [sys.executable, "client.py", *arguments, "--server", server.url]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(
        command,
        cwd=STEP,
        env=environment,
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.STDOUT,
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
