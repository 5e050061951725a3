"""One client of the load: a WebSocket that keeps the bytes it gets, which are checked later."""

import asyncio
import re
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any, cast

from websockets.frames import Frame, Opcode

MESSAGE = re.compile(rb'"message": "(\d+)\.(\d+)\.(\d+)\.')  # number, sender, nanoseconds
SEQ = re.compile(rb'"seq": (\d+)')
REQUEST = (
    "GET /ws/chat/{room}/{query} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: sessionid={cookie}\r\n\r\n"
)


class Client(asyncio.Protocol):
    """A WebSocket, and the bytes that it has received.

    The future `joined` is done when the client has the history and, from step 5, `caught_up`. If
    `hear` is set, it is called with each new message, as a match of `MESSAGE`.
    """

    transport: asyncio.Transport

    def __init__(self, job: dict[str, Any], number: int, room: str) -> None:
        self.job, self.number, self.room = job, number, room
        self.joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = ""  # the reason
        self.data = bytearray()
        self.hear: Callable[[Client, re.Match[bytes]], None] | None = None
        self.heard = 0  # bytes that `hear` has got
        self.at_leisure = False  # whether the load calls `resume_reading` from time to time

    @property
    def messages(self) -> int:
        """The number of messages received."""
        return self.data.count(b'"message": "')

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket without compression, as a browser with a session does."""
        self.transport = cast(asyncio.Transport, transport)
        host = f"{self.job['host']}:{self.job['port']}"
        cookie = self.job["cookies"][self.number % len(self.job["cookies"])]
        more = {"room": self.room, "query": self.job["query"]}
        self.transport.write(REQUEST.format(host=host, cookie=cookie, **more).encode())

    def data_received(self, data: bytes) -> None:
        """Keep bytes, answer a ping, and note a close."""
        self.data += data
        if not self.joined.done():
            self.welcome()
        # The JSON is ASCII, so this byte is a ping, or the length of a frame. In the second case
        # the server ignores our answer.
        if ping := data.partition(b"\x89")[2]:
            self.send(Opcode.PONG, ping[1 : 1 + ping[0]])
        _, close, frame = data.rpartition(b"\x88")
        if close and frame and frame[0] == len(frame) - 1:  # a close frame is the last frame
            self.ended = f"closed with {int.from_bytes(frame[1:3], 'big')}"
            self.transport.close()
        if self.at_leisure and not self.ended:
            self.transport.pause_reading()
        if self.hear:
            for message in MESSAGE.finditer(self.data, self.heard):
                self.heard = message.end()
                self.hear(self, message)

    def welcome(self) -> None:
        """Set the result of `joined`, if the server has answered."""
        status, complete, _ = self.data.partition(b"\r\n")
        if complete and b" 101 " not in status:
            self.joined.set_exception(ConnectionRefusedError(status.decode(errors="replace")))
        greeted = self.job["kind"] != "step" or b"caught_up" in self.data
        if greeted and b"\r\n\r\n" in self.data and self.messages >= self.job["history"]:
            self.joined.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Note the reason."""
        self.ended = self.ended or (repr(error) if error else "closed by the server")
        if not self.joined.done():
            self.joined.set_exception(ConnectionResetError(self.ended))

    def send(self, opcode: Opcode, payload: bytes) -> None:
        """Send one frame, if the connection still exists."""
        if not self.ended:
            self.transport.write(Frame(opcode, payload).serialize(mask=True))


@cache  # most clients have received the same bytes
def find_faults(data: bytes, sent: int, room_order: bool) -> list[str]:
    """Return the faults in the bytes of a client, whose room was sent `sent` messages.

    Each message must come once, and the messages of one sender in the order of sending. With
    `room_order`, all messages must also come in the order of the room's numbers.
    """
    messages = [(int(number), sender) for number, sender, _ in MESSAGE.findall(data)]
    numbers = {number for number, _ in messages}
    lost, double = len(set(range(sent)) - numbers), len(messages) - len(numbers)
    messages.sort(key=lambda message: message[1])  # by sender; those of a sender stay in order
    overtaken = sum(a[1] == b[1] and a[0] > b[0] for a, b in pairwise(messages))
    seqs = [int(seq) for seq in SEQ.findall(data)]
    mixed = room_order and any(after != before + 1 for before, after in pairwise(seqs))
    faults = {
        f"lost {lost} of {sent} messages": lost,
        f"got {double} messages twice": double,
        f"got {overtaken} messages before an earlier one of the same sender": overtaken,
        "did not get the room's numbers in order": mixed,
        "got errors": b'"error": ' in data,
    }
    return [fault for fault, found in faults.items() if found]
