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
    """Sign up a user with a password, and return her name."""
    fields = {"username": "cat", "password1": PASSWORD, "password2": PASSWORD}
    submit(stranger, "/accounts/signup/", **fields)
    return "cat"


@contextmanager
def terminal_client(
    server, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
):
    """Run client.py in a process of its own."""
    command = [sys.executable, "client.py", "--server", server.url, *arguments]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    with subprocess.Popen(
        command,
        cwd=STEP,
        env=environment,
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        encoding=encoding,
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
    """Each hears the other, with names. The end of the input ends the client."""
    browser = await connect(socket_path("日本語"))
    with terminal_client(server, cat, "--room", "日本語") as client:
        write(client, PASSWORD)
        assert "Connected" in client.stdout.readline()
        write(client, "hi from a terminal 🎉")
        frame = await hear(browser)
        assert (frame["username"], frame["message"]) == (
            "cat",
            "hi from a terminal 🎉",
        )
        assert client.stdout.readline() == "cat: hi from a terminal 🎉\n"

        await say(browser, "hi from a browser")
        assert client.stdout.readline() == "ann: hi from a browser\n"

        client.stdin.close()
        assert client.wait(10) == 0
        assert PASSWORD not in client.stdout.read()
        assert PASSWORD not in " ".join(client.args)


def test_the_last_line_may_be_refused(server, cat):
    """A script that pipes lines into the client sees the reason after its input ended."""
    with terminal_client(server, cat) as client:
        output, _ = client.communicate(f"{PASSWORD}\n{'x' * 1001}\n", timeout=10)
    assert "The message has 1,001 characters. The limit is 1,000." in output
    assert client.returncode == 0


async def test_an_emoji_does_not_end_the_client(server, connect, cat):
    """A terminal whose encoding has no emoji gets a question mark instead."""
    browser = await connect()
    with terminal_client(server, cat, encoding="ascii") as client:
        write(client, PASSWORD)
        assert "Connected" in client.stdout.readline()
        await say(browser, "hi 🎉")
        assert client.stdout.readline() == "ann: hi ?\n"


def test_the_address_may_end_with_a_slash(server, cat):
    """People copy the address from a browser, with its last slash."""
    with terminal_client(server, cat, "--server", f"{server.url}/") as client:
        write(client, PASSWORD)
        assert "Connected" in client.stdout.readline()


async def test_control_characters_are_not_shown(server, connect, cat):
    """A stranger's could clear the screen, or start a line with another name."""
    browser = await connect()
    with terminal_client(server, cat) as client:
        write(client, PASSWORD)
        assert "Connected" in client.stdout.readline()
        await say(browser, "\x1b[2J\x9b2J\x7f\r\ncat: 日本")
        assert client.stdout.readline() == "ann: �[2J�2J���cat: 日本\n"


def test_a_wrong_password_ends_the_client(server, cat):
    """The client shows one sentence, and ends with an exit code that a script can see."""
    with terminal_client(server, cat) as client:
        output, _ = client.communicate("wrong\n", timeout=10)
    assert output == "The username or the password is wrong.\n"
    assert client.returncode == 1


def test_signing_out_ends_the_client(server, cat, stranger):
    """The server closes the socket. The client says why and ends."""
    with terminal_client(server, cat) as client:
        write(client, PASSWORD)
        assert "Connected" in client.stdout.readline()
        submit(stranger, "/chat/", to="/accounts/logout/")
        assert client.stdout.readline() == "Signed out.\n"
        assert client.wait(10) == 1


def test_the_password_is_not_shown_while_it_is_typed(server, cat):
    """On a terminal, the client asks for the password and does not show it."""
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    keyboard, terminal = pty.openpty()
    with terminal_client(server, cat, stdin=terminal, stdout=terminal):
        os.close(terminal)
        seen = ""
        for expected, typed in [
            ("Password:", PASSWORD),
            ("Connected", "hi"),
            ("cat: hi", ""),
        ]:
            while expected not in seen:
                try:
                    seen += os.read(keyboard, 1024).decode()
                except OSError:
                    raise AssertionError(f"the client has ended: {seen}") from None
            os.write(keyboard, f"{typed}\n".encode())
    os.close(keyboard)
    assert PASSWORD not in seen
