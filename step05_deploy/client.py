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
MAX_LENGTH = 10_000  # characters of a line: the server closes for over 64 KiB
TIME_LIMIT = 10  # seconds without an answer, after which a connection is dead


def show(line):
    """Print a line. Control characters of a stranger could clear the screen."""
    print("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line))


class Unavailable(Exception):
    """The server does not answer, or gives no token now. It may do so later."""


def get_token(server, username, password):
    """Return a token for one socket; ``Unavailable``, or exit with the reason."""
    fields = {"username": username, "password": password}
    try:
        url = f"{server}/api/token/"
        response = requests.post(url, json=fields, timeout=TIME_LIMIT)
        answer = response.json()
    except requests.RequestException as error:
        raise Unavailable(f"No answer from {server}: {type(error).__name__}") from None
    if response.status_code == 429 or response.status_code >= 500:
        raise Unavailable(answer["error"])
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
    """What outlives a socket: the last number shown, and the messages on their way."""

    def __init__(self, options, password):
        self.options = options
        self.password = password
        self.socket = None  # the open socket, once it has caught up
        self.last = None  # the number up to which all messages were shown
        self.unsent = {}  # messages that are not acknowledged, by client_id
        self.input_ended = False
        self.tries = 0  # connections in a row that brought nothing

    @property
    def is_done(self):
        """Whether all input is acknowledged, and no more can come."""
        return self.input_ended and not self.unsent

    async def chat(self):
        """Chat through as many sockets as it takes."""
        sending = asyncio.create_task(self.send_lines())
        while not self.is_done:
            try:
                await self.talk(await asyncio.to_thread(self.new_url))
            except (Unavailable, OSError, websockets.InvalidHandshake) as error:
                if self.last is None:
                    raise SystemExit(f"Cannot join: {error}") from None
            if not self.is_done:
                show("(reconnecting…)")
                await asyncio.sleep(reconnect_wait(self.tries))
                self.tries += 1
        await sending

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
            with suppress(websockets.ConnectionClosed):  # the close code says why
                async for text in socket:
                    await self.receive(json.loads(text), socket)
        self.socket = None
        if socket.close_code == SIGNED_OUT:
            raise SystemExit("Signed out.")

    async def receive(self, frame, socket):
        """Show what the server sends, and notice the answers to our messages."""
        client_id = frame.get("client_id")
        if "caught_up" in frame:
            welcome = "Connected. Write a line to send it; Ctrl-C ends."
            show(welcome if self.last is None else "(connected again)")
            self.last = frame["caught_up"]
            self.tries = 0
            self.socket = socket
            for client_id in self.unsent:
                await self.send(client_id)
        elif "retry_after" in frame and client_id in self.unsent:
            await asyncio.sleep(frame["retry_after"])
            await self.send(client_id)
        elif "error" in frame:
            not_sent = self.unsent.pop(client_id, None)
            show(f"Not sent: {frame['error']}" if not_sent else frame["error"])
        elif "seq" in frame:
            show(f"{frame['username']}: {frame['message']}")
            self.unsent.pop(client_id, None)
            self.last = max(self.last or 0, frame["seq"])  # a repeated answer is older
        else:
            show(frame["message"])  # an announcement
        if self.is_done:
            await socket.close()

    async def send_lines(self):
        """Send each line of the input, now or when there is a connection again."""
        lines = asyncio.Queue()
        arguments = (asyncio.get_running_loop(), lines)
        # A daemon thread does not keep the program alive while it waits for the keyboard.
        threading.Thread(target=read_lines, args=arguments, daemon=True).start()
        while (line := await lines.get()) is not None:
            if line:
                # The server knows by the client_id when a message comes again.
                client_id = str(uuid4())
                self.unsent[client_id] = line[:MAX_LENGTH]
                await self.send(client_id)
        self.input_ended = True
        if self.is_done and self.socket:
            await self.socket.close()

    async def send(self, client_id):
        """Send an unsent message, if there is a connection."""
        frame = {"message": self.unsent[client_id], "client_id": client_id}
        if self.socket:
            with suppress(websockets.ConnectionClosed):
                await self.socket.send(json.dumps(frame))


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
