"""Chat from a terminal: sign in over HTTP, get a token, open a socket with it.

    python client.py ann --room 日本語 --server http://127.0.0.1:8000

The client asks for the password, or reads it as the first line of a pipe. It is not an
argument: every user of a machine can read the arguments of all programs.
"""

import argparse
import asyncio
import getpass
import json
import sys
import threading
from urllib.parse import quote

import requests
import websockets

SIGNED_OUT = 4001  # the server's close code for a client that is not signed in
LAST_ANSWERS = 2  # seconds to wait for answers after the end of the input


def show(line):
    """Print a line. Control characters of a stranger could clear the screen."""
    print("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line))


def get_token(server, username, password):
    """Return a token for one socket, or exit with the server's reason."""
    credentials = {"username": username, "password": password}
    try:
        response = requests.post(f"{server}/api/token/", json=credentials, timeout=10)
    except requests.RequestException as error:
        raise SystemExit(f"No answer from {server}: {type(error).__name__}") from None
    if not response.ok:
        raise SystemExit(response.json()["error"])
    return response.json()["token"]


def read_lines(loop, lines):
    """Put each typed line into the queue ``lines``, and None after the last."""
    for line in sys.stdin:
        loop.call_soon_threadsafe(lines.put_nowait, line.strip())
    loop.call_soon_threadsafe(lines.put_nowait, None)


async def send_lines(socket):
    """Send each line of the input. Close the socket at its end."""
    lines = asyncio.Queue()
    arguments = (asyncio.get_running_loop(), lines)
    # A daemon thread does not keep the program alive while it waits for the keyboard.
    threading.Thread(target=read_lines, args=arguments, daemon=True).start()
    while (line := await lines.get()) is not None:
        if line:
            await socket.send(json.dumps({"message": line}))
    await asyncio.sleep(LAST_ANSWERS)
    await socket.close()


async def chat(url):
    """Send the input and show the messages, until one side closes the socket."""
    async with websockets.connect(url) as socket:
        show("Connected. Write a line to send it; Ctrl-C ends.")
        sending = asyncio.create_task(send_lines(socket))
        async for text in socket:
            frame = json.loads(text)
            if "error" in frame:
                show(frame["error"])
            elif "username" in frame:  # ignore frames that we do not know
                show(f"{frame['username']}: {frame['message']}")
        sending.cancel()


def main():
    """Read the arguments and the password, then chat."""
    parser = argparse.ArgumentParser(description="Chat from a terminal.")
    parser.add_argument("username")
    parser.add_argument("--room", default="lobby")
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    options = parser.parse_args()
    server = options.server.rstrip("/")
    ask = getpass.getpass if sys.stdin.isatty() else sys.stdin.readline
    password = ask().rstrip("\n")
    token = get_token(server, options.username, password)
    path = f"/ws/chat/{quote(options.room, safe='')}/?token={token}"
    try:
        asyncio.run(chat(server.replace("http", "ws", 1) + path))
    except websockets.InvalidHandshake as error:
        raise SystemExit(f"The server refused the room: {error}") from None
    except websockets.ConnectionClosedError as error:
        code = error.rcvd.code if error.rcvd else 1006
        if code == SIGNED_OUT:
            raise SystemExit("Signed out.") from None
        raise SystemExit(f"The connection broke (code {code}).") from None
    except KeyboardInterrupt:
        show("Bye.")


if __name__ == "__main__":
    # An emoji that the terminal's encoding lacks becomes a question mark.
    sys.stdout.reconfigure(errors="replace", line_buffering=True)
    main()
