"""Chat from a terminal: sign in over HTTP, get a token, open a socket with it.

    python client.py ann                      asks for ann's password
    python client.py ann --room 日本語 --server http://127.0.0.1:8000

Without a terminal, the first line of the input is the password. Never an argument: everybody on
the machine can read the arguments of a program that runs.
"""

import argparse
import asyncio
import getpass
import json
import re
import sys
import threading
from contextlib import suppress
from urllib.parse import quote, urlencode

import requests
import websockets

SIGNED_OUT = 4001  # the server's close code for strangers
LAST_ANSWERS = 2  # seconds; the server may refuse the last line, and its reason is on the way


def show(line):
    """Write one line at once, even where the output is not a terminal.

    Without control characters: a stranger's could clear the screen, or begin a line that looks
    like somebody else's. SystemExit if nobody reads any more, as after ``| head -1``.
    """
    line = re.sub(r"[\x00-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", line)
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise SystemExit(1) from None


def get_token(server, username, password):
    """Return a token for one socket; SystemExit with the server's reason if it gives none."""
    credentials = {"username": username, "password": password}
    try:
        response = requests.post(f"{server}/api/token/", json=credentials, timeout=10)
        answer = response.json()
    except requests.RequestException as error:
        raise SystemExit(f"No answer from {server}: {type(error).__name__}") from None
    if not response.ok:
        raise SystemExit(answer["error"])
    return answer["token"]


def read_input(loop, lines):
    """Put each line that is typed from now on into the queue ``lines``, and None after the last.

    ``loop`` is the event loop where the queue is read.
    """

    def read():
        # RuntimeError: the conversation has ended, and its loop with it.
        with suppress(RuntimeError):
            for line in filter(None, map(str.strip, sys.stdin)):
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, None)

    # A daemon thread: it waits for the keyboard, and must not keep the program alive.
    threading.Thread(target=read, daemon=True).start()


async def chat(url):
    """Send what is typed, show what the room says, until one side ends it."""
    async with websockets.connect(url) as socket:
        show("Connected. Write a line to send it; Ctrl-C ends.")
        sending = asyncio.create_task(send_lines(socket))
        try:
            async for text in socket:
                frame = json.loads(text)
                show(frame.get("error") or f"{frame['username']}: {frame['message']}")
        except websockets.ConnectionClosedError:
            code = socket.close_code
            reason = "Signed out." if code == SIGNED_OUT else f"The connection broke (code {code})."
            raise SystemExit(reason) from None
        finally:
            sending.cancel()


async def send_lines(socket):
    """Send each line of the input, and close the socket at its end."""
    lines = asyncio.Queue()
    read_input(asyncio.get_running_loop(), lines)
    while (line := await lines.get()) is not None:
        await socket.send(json.dumps({"message": line}))
    await asyncio.sleep(LAST_ANSWERS)
    await socket.close()


def main():
    """Read the arguments and the password, and chat."""
    parser = argparse.ArgumentParser(description="Chat from a terminal.")
    parser.add_argument("username")
    parser.add_argument("--room", default="lobby")
    parser.add_argument("--server", default="http://127.0.0.1:8000", help="default: %(default)s")
    options = parser.parse_args()
    options.server = options.server.rstrip("/")
    password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    token = get_token(options.server, options.username, password)
    server = options.server.replace("http", "ws", 1)
    path = f"/ws/chat/{quote(options.room, safe='')}/?{urlencode({'token': token})}"
    try:
        asyncio.run(chat(server + path))
    except websockets.InvalidHandshake as error:
        raise SystemExit(f"The server refused the room: {error}") from None
    except KeyboardInterrupt:
        show("Bye.")


if __name__ == "__main__":
    main()
