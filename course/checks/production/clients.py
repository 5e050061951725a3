"""Clients that talk to a stack during its faults, and keep a log of all that they hear."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from socket import IPPROTO_TCP, SO_RCVBUF, SOL_SOCKET, socket
from urllib.parse import urlsplit
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

PATIENCE = 10.0  # seconds that a client waits for an expected frame before it gives the socket up
WINDOW = 5  # messages that may wait for their acknowledgement at a time
# In the list of close codes, a text stands for an end without a close frame.
GAVE_UP = "gave up"  # the client itself ended a socket that did not answer
NEVER_OPEN = "never open"  # the handshake failed; only the page notes these
# An open socket got 1006 while the client waited for the answer to a message. uvicorn ends the
# connection right after its close frame: https://github.com/Kludex/uvicorn/issues/3049. If the
# client then sends, the system resets the connection, and nginx or the client loses the frame.
WHILE_SENDING = "1006 while sending"


def reconnect_wait(tries: int) -> float:
    """Return the seconds to wait before the next try to connect, after `tries` failed ones."""
    return random.uniform(0, min(15, 0.5 * 2 ** min(tries, 5)))


def ending(code: int, is_waiting: bool, was_open: bool = True) -> int | str:
    """Return what the list of close codes says about the end of a socket."""
    if not was_open:
        return NEVER_OPEN
    return WHILE_SENDING if code == 1006 and is_waiting else code


def connect_narrowly(url: str) -> socket:
    """Connect with small buffers on both sides, for a client that does not read.

    By default, the system buffers megabytes: a TCP segment within one machine has 64 KiB.
    """
    from socket import TCP_MAXSEG  # Windows has no TCP_MAXSEG

    place = urlsplit(url)
    line = socket()
    line.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)
    line.setsockopt(IPPROTO_TCP, TCP_MAXSEG, 1400)
    line.connect((place.hostname, place.port))
    return line


@dataclass
class Waiting:
    """A message that is not acknowledged: when it was first said, and when it is sent again.

    `said` is by the client's clock. `due` is 0 until the message has been sent once.
    """

    text: str
    said: float
    due: float = 0.0
    asked: bool = False  # sent on this socket, and no answer so far


class Client:
    """A client as simple as the contract allows, without code for missing numbers.

    The client remembers the last number, reconnects with `?after=`, and sends again each message
    that was not acknowledged. On each connection the numbers must come in order and without gaps,
    and `caught_up` must come once, with the last number. While `talking`, the client sends a
    message every `pace` seconds. `log` has each message once, in the order in which the messages
    came. `complaints` has everything that broke the contract.
    """

    def __init__(self, name: str, url: str, headers: Mapping[str, str], pace: float = 0.2) -> None:
        self.name = name
        self.url = url
        self.headers = headers
        self.pace = pace
        self.padding = ""
        self.window = WINDOW
        self.talking = False
        self.reads_ahead = True
        self.listening = asyncio.Event()
        self.listening.set()
        self.socket: ClientConnection | None = None
        self.connections = 0
        self.tries = 0
        self.last = 0  # the number up to which the client has every message
        self.caught_up = False  # whether the server has sent all missed messages on this socket
        self.heard = 0.0  # when the last frame came
        self.log: list[dict[str, object]] = []
        self.times: list[float] = []
        self.written: dict[str, str] = {}
        self.waiting: dict[str, Waiting] = {}
        self.clock = time.monotonic  # or the processor time of a worker, in seconds
        self.answers: list[float] = []  # how long each message took to come back, by `clock`
        self.codes: list[int | str] = []
        self.repeats: list[dict[str, object]] = []  # error frames that ask to send again
        self.again: Counter[str] = Counter()  # repeated answers that are allowed, by client_id
        self.complaints: list[str] = []

    @property
    def texts(self) -> list[object]:
        """The texts of all messages, in the order in which they came."""
        return [frame["message"] for frame in self.log]

    @property
    def unsent(self) -> int:
        """The number of messages that are not acknowledged."""
        return len(self.waiting)

    async def live(self) -> None:
        """Stay in the room until cancelled: reconnect whenever the socket is lost."""
        while True:
            try:
                line = None if self.reads_ahead else connect_narrowly(self.url)
                async with connect(
                    f"{self.url}?after={self.last}",
                    additional_headers=self.headers,
                    compression=None,
                    max_queue=16 if self.reads_ahead else 1,
                    sock=line,
                    open_timeout=PATIENCE,
                    ping_interval=None,  # a browser sends no pings
                    close_timeout=1,
                ) as socket:
                    self.socket = socket
                    self.connections += 1
                    await self.talk(socket)
            except (OSError, InvalidHandshake, InvalidMessage, TimeoutError):
                pass
            finally:
                self.socket = None
                self.caught_up = False
            await asyncio.sleep(reconnect_wait(self.tries))
            self.tries += 1

    async def talk(self, socket: ClientConnection) -> None:
        """Receive and send on one socket until it is closed."""
        mark = len(self.codes)
        self.heard = time.monotonic()
        for message in self.waiting.values():
            message.due, message.asked = min(message.due, time.monotonic()), False
        speaking = asyncio.create_task(self.speak(socket))
        try:
            with suppress(ConnectionClosed):
                while True:
                    await self.listening.wait()
                    self.receive(json.loads(await socket.recv()))
        finally:
            speaking.cancel()
        if len(self.codes) == mark:
            is_waiting = any(message.asked for message in self.waiting.values())
            self.codes.append(ending(int(socket.close_code or 1006), is_waiting))

    async def speak(self, socket: ClientConnection) -> None:
        """Keep sending due messages. Give up the socket if the server owes an answer too long."""
        with suppress(ConnectionClosed):
            while True:
                if self.is_owed() and time.monotonic() > self.heard + PATIENCE:
                    # Abort without a close frame: the server would not answer one.
                    self.codes.append(GAVE_UP)
                    socket.transport.abort()
                    return
                if self.caught_up:
                    await self.send_all(socket)
                await asyncio.sleep(self.pace)

    def is_owed(self) -> bool:
        """Tell whether the server still owes `caught_up`, or an answer that is overdue."""
        now = time.monotonic()
        late = (message.asked and now > message.due for message in self.waiting.values())
        return not self.caught_up or any(late)

    async def send_all(self, socket: ClientConnection) -> None:
        """Send the messages that are due; while talking, first write a new one."""
        if self.talking and len(self.waiting) < self.window:
            client_id = str(uuid4())
            self.written[client_id] = f"{self.name} {len(self.written)}{self.padding}"
            self.waiting[client_id] = Waiting(self.written[client_id], self.clock())
        for client_id, message in [*self.waiting.items()]:
            now = time.monotonic()
            if message.asked or now < message.due:
                continue
            if message.due:
                self.again[client_id] += 1
            message.asked, message.due = True, now + PATIENCE
            await socket.send(json.dumps({"message": message.text, "client_id": client_id}))

    def receive(self, frame: dict[str, object]) -> None:
        """Record a frame of the server, and check it against the contract."""
        self.heard = time.monotonic()
        client_id = str(frame.get("client_id"))
        if "caught_up" in frame:
            if self.caught_up or frame["caught_up"] != self.last:
                self.complaints.append(f"{frame} came after {self.last}")
            self.caught_up, self.tries = True, 0
            return
        if "error" in frame:
            message = self.waiting.get(client_id)
            retry_after = frame.get("retry_after")
            if message and isinstance(retry_after, (int, float)):
                self.repeats.append(frame)
                message.due, message.asked = time.monotonic() + retry_after, False
            else:
                self.complaints.append(str(frame))
            return
        if message := self.waiting.pop(client_id, None):
            self.answers.append(self.clock() - message.said)
        seq = frame["seq"]
        assert isinstance(seq, int)
        if seq > self.last:
            if seq != self.last + 1:
                self.complaints.append(f"{seq} came after {self.last}")
            self.last = seq
            self.log.append(frame)
            self.times.append(time.monotonic())
        elif self.again[client_id]:
            self.again[client_id] -= 1
        else:
            self.complaints.append(f"{seq} came again after {self.last}")
