"""Chat from a terminal: sign in over HTTP, get a token, open a socket with it.

    python client.py ann --room 日本語 --server http://127.0.0.1:8000

The client asks for the password, or reads it as the first line of a pipe. It is not an
argument: every user of a machine can read the arguments of all programs. When the
connection breaks, the client connects again, gets what it missed, and sends again what
was not acknowledged, as conversation.js does.
"""

import argparse
import asyncio
import getpass
import json
import random
import sys
import threading
from contextlib import suppress
from urllib.parse import quote
from uuid import uuid4

import requests
import websockets

SIGNED_OUT = 4001  # the server's close code for a client that is not signed in
MAX_LENGTH = 5000  # characters of a line, 12 bytes each at most: a frame has 64 KiB
TIME_LIMIT = 10  # seconds without an answer, after which a connection is dead


def show(line):
    """Print a line. Control characters of a stranger could clear the screen."""
    print("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line))


def get_token(server, username, password):
    """Return a token for one socket. OSError: there is none now, but later perhaps."""
    credentials = {"username": username, "password": password}
    url = f"{server}/api/token/"
    try:
        response = requests.post(url, json=credentials, timeout=TIME_LIMIT)
        answer = response.json()
    except requests.RequestException as error:
        raise OSError(f"No answer from {server}: {type(error).__name__}") from None
    if response.status_code == 429 or response.status_code >= 500:
        raise OSError(answer["error"])
    if not response.ok:
        raise SystemExit(answer["error"])
    return answer["token"]


def reconnect_wait(tries):
    """Return the seconds before the next try: longer each time, and random.

    This leaves a server in trouble alone, and its clients do not return all together.
    """
    return random.uniform(0, min(15, 0.5 * 2 ** min(tries, 5)))


def read_lines(loop, lines):
    """Put each typed line into the queue ``lines``, and None after the last."""
    for line in sys.stdin:
        loop.call_soon_threadsafe(lines.put_nowait, line.strip())
    loop.call_soon_threadsafe(lines.put_nowait, None)


class Conversation:
    """The state that outlives a socket: the last number, and the lines to send."""

    def __init__(self, options, password):
        self.options = options
        self.password = password
        self.greeting = "Connected. Write a line to send it; Ctrl-C ends."
        self.last = None  # the number up to which all messages were shown
        self.tries = 0  # connections in a row that did not catch up
        self.lines = asyncio.Queue()  # typed lines; None is the end of the input
        self.unsent = {}  # the frame of the oldest line, until it is acknowledged
        self.answered = asyncio.Event()
        self.pause = 0  # seconds before the next frame
        self.is_done = False

    async def chat(self):
        """Chat through as many sockets as it takes to send all lines."""
        arguments = (asyncio.get_running_loop(), self.lines)
        # A daemon thread does not keep the program alive while it waits for the
        # keyboard.
        threading.Thread(target=read_lines, args=arguments, daemon=True).start()
        while not self.is_done:
            try:
                await self.talk(await asyncio.to_thread(self.new_url))
            except (OSError, websockets.InvalidHandshake) as error:
                if self.last is None:
                    raise SystemExit(f"Cannot join: {error}") from None
            if not self.is_done:
                if self.tries == 0:
                    show("(reconnecting…)")
                await asyncio.sleep(reconnect_wait(self.tries))
                self.tries += 1

    def new_url(self):
        """Return the address of the room, with a new token: a token works once."""
        token = get_token(self.options.server, self.options.username, self.password)
        after = "" if self.last is None else f"&after={self.last}"
        server = self.options.server.replace("http", "ws", 1)
        room = quote(self.options.room, safe="")
        return f"{server}/ws/chat/{room}/?token={token}{after}"

    async def talk(self, url):
        """Chat through one socket, until one side closes it."""
        limits = {"ping_interval": TIME_LIMIT, "ping_timeout": TIME_LIMIT}
        async with websockets.connect(url, close_timeout=1, **limits) as socket:
            sending = None
            with suppress(websockets.ConnectionClosed):  # the close code says why
                async for text in socket:
                    frame = json.loads(text)
                    self.receive(frame)
                    if "caught_up" in frame:
                        sending = asyncio.create_task(self.send_lines(socket))
            if sending:
                sending.cancel()
        if socket.close_code == SIGNED_OUT:
            raise SystemExit("Signed out.")

    def receive(self, frame):
        """Show what the server sends, and notice the answer to our frame."""
        is_ours = self.unsent and frame.get("client_id") == self.unsent["client_id"]
        if "caught_up" in frame:
            show(self.greeting)
            self.greeting = "(connected again)"
            self.last = frame["caught_up"]
            self.tries = 0
        elif "seq" in frame:
            # The answer to a frame that was sent twice may come twice.
            if is_ours or frame["seq"] > (self.last or 0):
                show(f"{frame['username']}: {frame['message']}")
            self.last = max(self.last or 0, frame["seq"])
        elif "message" in frame:
            show(frame["message"])  # an announcement
        elif "retry_after" not in frame:
            show(f"Not sent: {frame['error']}" if is_ours else frame["error"])
        if is_ours:
            self.pause = frame.get("retry_after", 0)
            if not self.pause:
                self.unsent = {}
            self.answered.set()

    async def send_lines(self, socket):
        """Send line after line. Each waits for the answer to the one before."""
        while True:
            if not self.unsent:
                line = await self.lines.get()
                if line is None:
                    self.is_done = True
                    return await socket.close()
                # The server knows by the client_id when a message comes again.
                self.unsent = {"message": line[:MAX_LENGTH], "client_id": str(uuid4())}
            self.answered.clear()
            with suppress(websockets.ConnectionClosed):
                await socket.send(json.dumps(self.unsent))
            await self.answered.wait()
            await asyncio.sleep(self.pause)


def main():
    """Read the arguments and the password, then chat."""
    parser = argparse.ArgumentParser(description="Chat from a terminal.")
    parser.add_argument("username")
    parser.add_argument("--room", default="lobby")
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    options = parser.parse_args()
    options.server = options.server.rstrip("/")
    ask = getpass.getpass if sys.stdin.isatty() else sys.stdin.readline
    password = ask().rstrip("\n")
    try:
        asyncio.run(Conversation(options, password).chat())
    except KeyboardInterrupt:
        show("Bye.")


if __name__ == "__main__":
    # An emoji that the terminal's encoding lacks becomes a question mark.
    sys.stdout.reconfigure(errors="replace", line_buffering=True)
    main()
