"""Chat from a terminal: sign in over HTTP, get a token, open a socket with it.

    python client.py ann                      asks for ann's password
    python client.py ann --room 日本語 --server http://127.0.0.1:8000

Without a terminal, the first line of the input is the password. Never an argument: everybody on
the machine can read the arguments of a program that runs.

When the connection breaks it connects again, asks for what was said meanwhile, and sends again
what nobody acknowledged, as the page does: see conversation.js.
"""

import argparse
import asyncio
import getpass
import json
import random
import re
import sys
import threading
import time
from contextlib import suppress
from urllib.parse import quote, urlencode
from uuid import uuid4

import requests
import websockets

SIGNED_OUT = 4001  # the server's close codes: for strangers …
TOO_LARGE = 1009  # … and for a message that it will not take next time either
PATIENCE = 10  # seconds without an answer, after which a socket is taken for dead
SETTLED = 5  # seconds; a socket that lasts so long has got the history, if there is any


class NotNow(Exception):
    """The server gives no token now, and may give one later; the text says why."""


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


def reconnect_wait(tries):
    """Return the seconds to wait before another try, after so many in vain.

    Longer each time, so that a server in trouble is left alone; and random, for otherwise all
    clients that lost it together would come back together.
    """
    return random.uniform(0, min(15, 0.5 * 2 ** min(tries, 5)))


def get_token(server, username, password):
    """Return a token for one socket. ``NotNow``, or SystemExit if it is no use to try again."""
    credentials = {"username": username, "password": password}
    try:
        response = requests.post(f"{server}/api/token/", json=credentials, timeout=PATIENCE)
        answer = response.json()
    except requests.RequestException as error:
        raise NotNow(f"No answer from {server}: {type(error).__name__}") from None
    if response.status_code == 429 or response.status_code >= 500:
        raise NotNow(answer["error"])
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


class Conversation:
    """What outlives a socket: what was shown, and what was written and is not acknowledged."""

    def __init__(self):
        self.last = None  # the highest seq that was shown; None as long as there was none
        self.hole = None  # the last before a hole that we came back for
        self.holes_stay = False  # whether such a hole was still there, on a socket not yet settled
        self.outbox = asyncio.Queue()  # lines that were written; None after the last
        self.head = None  # the frame for the oldest of them, until it is acknowledged
        self.answer = None  # what the server says of it: a future, in how many seconds to repeat it
        self.tries = 0  # in vain, one after the other
        self.joined = False  # whether there was a socket before
        self.ended = False  # whether all is sent that will ever be written

    async def talk(self, url):
        """Chat through one socket; return its close code when it is of no more use."""
        # A server that does not answer a ping is gone, though nobody closed the connection.
        options = {"ping_interval": PATIENCE, "ping_timeout": PATIENCE, "close_timeout": 1}
        async with websockets.connect(url, **options) as socket:
            welcome = "Connected. Write a line to send it; Ctrl-C ends."
            show("(connected again)" if self.joined else welcome)
            self.joined = True
            self.holes_stay = False
            sending = asyncio.create_task(self.send_outbox(socket))
            settling = asyncio.get_running_loop().call_later(SETTLED, self.settle)
            # ConnectionClosed: the code says why.
            with suppress(websockets.ConnectionClosed):
                async for text in socket:
                    if not self.receive(json.loads(text)):
                        break
            sending.cancel()
            settling.cancel()
        if socket.close_code == TOO_LARGE and self.head:
            self.finish("It is too large.")
        return socket.close_code

    def settle(self):
        """Note that a socket has lasted."""
        self.tries = 0
        self.holes_stay = False
        if self.last is None:
            self.last = 0  # an empty room: its first message will be number 1

    async def send_outbox(self, socket):
        """Send what was written, and at its end close the socket.

        The next line goes when one is acknowledged: so they are stored in the order of writing.
        """
        with suppress(websockets.ConnectionClosed, TimeoutError):
            while not self.ended:
                if self.head is None:
                    line = await self.outbox.get()
                    if line is None:
                        self.ended = True
                        break
                    # The client_id says that it is the same one, when it has to be sent again.
                    self.head = {"message": line, "client_id": str(uuid4())}
                self.answer = asyncio.get_running_loop().create_future()
                await socket.send(json.dumps(self.head))
                await asyncio.sleep(await asyncio.wait_for(self.answer, PATIENCE))
        await socket.close()

    def answered(self, seconds=0):
        """Let ``send_outbox`` go on, after some seconds."""
        if not self.answer.done():
            self.answer.set_result(seconds)

    def finish(self, error=None):
        """Be done with the oldest line that was written: it is stored, or never will be."""
        self.head = None
        self.answered()
        if error:
            show(f"Not sent: {error}")

    def receive(self, frame):
        """Show what the room says, once and in order; return False if something is missing."""
        is_ours = self.head is not None and frame.get("client_id") == self.head["client_id"]
        if "error" in frame:
            if not is_ours:
                show(frame["error"])
            elif "retry_after" in frame:
                self.answered(frame["retry_after"])
            else:
                self.finish(frame["error"])
        elif "seq" in frame:
            return self.receive_message(frame, is_ours)
        else:
            show(frame["message"])  # an announcement, which is not stored
        return True

    def receive_message(self, frame, is_ours):
        """Show a message; return False if there is one before it that we don't know."""
        self.tries = 0
        if is_ours:
            self.finish()
        seq, last = frame["seq"], self.last
        is_hole = last is not None and seq > last + 1
        # A hole that is still there when we come back for it is a message that was deleted. So are
        # the other holes in what comes then: we do not come back for each of them.
        if is_hole and self.hole == last:
            self.holes_stay = True
        if is_hole and not self.holes_stay:
            self.hole = last
            return False
        # Not what was shown before. Ours was not, however old, or it would have left the outbox.
        if is_ours or last is None or seq > last:
            show(f"{frame['username']}: {frame['message']}")
        self.last = max(seq, last or 0)
        return True


def keep_talking(conversation, runner, options, password):
    """Chat, through as many sockets as it takes; SystemExit with the reason if that is no use."""
    server = options.server.replace("http", "ws", 1)
    path = f"/ws/chat/{quote(options.room, safe='')}/"
    while True:
        try:
            # A token works once: a new one for each socket.
            query = {"token": get_token(options.server, options.username, password)}
            if conversation.last is not None:
                query["after"] = conversation.last
            url = f"{server}{path}?{urlencode(query)}"
            if runner.run(conversation.talk(url)) == SIGNED_OUT:
                raise SystemExit("Signed out.")
            if conversation.ended:
                return
            show("(reconnecting…)")
        except NotNow as error:
            if not conversation.joined:
                raise SystemExit(str(error)) from None
        except (OSError, websockets.InvalidHandshake) as error:
            if not conversation.joined:
                raise SystemExit(f"The server refused the room: {error}") from None
        time.sleep(reconnect_wait(conversation.tries))
        conversation.tries += 1


def main():
    """Read the arguments and the password, and chat."""
    parser = argparse.ArgumentParser(description="Chat from a terminal.")
    parser.add_argument("username")
    parser.add_argument("--room", default="lobby")
    parser.add_argument("--server", default="http://127.0.0.1:8000", help="default: %(default)s")
    options = parser.parse_args()
    options.server = options.server.rstrip("/")
    password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    conversation = Conversation()
    try:
        # One event loop for all sockets. Between two of them there is nothing to do but wait.
        with asyncio.Runner() as runner:
            read_input(runner.get_loop(), conversation.outbox)
            keep_talking(conversation, runner, options, password)
    except KeyboardInterrupt:
        show("Bye.")


if __name__ == "__main__":
    main()
