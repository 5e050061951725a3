"""One client of the load: a WebSocket that keeps the bytes it gets, and checks them later."""

import re
import socket
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any

KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # from RFC 6455
TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
READ = 65_536  # bytes at a time; Python would allocate and free a bigger buffer at each read
PER_ADDRESS = 900  # sockets; one address has too few ports for everybody
MESSAGE = re.compile(rb'"message": "(\d+)\.(\d+)\.(\d+)\.')  # number, sender, nanoseconds
SEQ = re.compile(rb'"seq": (\d+)')


def handshake(job: dict[str, Any], number: int, path: str) -> tuple[tuple[str, int], bytes]:
    """Return the own address of client `number`, and its request: a browser's with a session.

    `job` has host, port and cookies (session keys). The request offers no compression.
    """
    host = f"{job['host']}:{job['port']}"
    cookie = job["cookies"][number % len(job["cookies"])]
    request = (
        f"GET /ws/chat/{path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\nCookie: sessionid={cookie}\r\n\r\n"
    )
    return (f"127.0.0.{2 + number // PER_ADDRESS}", 0), request.encode()


def read_frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield first byte and payload of each whole frame; no frame of a server has 64 KiB or more."""
    at = 0
    while len(data) - at >= 2:
        length, start = data[at + 1], at + 2
        if length == 126:
            start = at + 4
            length = int.from_bytes(data[at + 2 : start], "big")
        if start + length > len(data):
            return
        yield data[at], data[start : start + length]
        at = start + length


def client_frame(first: int, payload: bytes) -> bytes:
    """Return a masked frame. The zero mask is correct and costs nothing."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([first]) + length + bytes(4) + payload


@cache  # most sockets have received the same bytes
def find_faults(data: bytes, sent: int, room_order: bool) -> list[str]:
    """Return the faults in the bytes of a socket, which should have received `sent` messages.

    Each message must come once, and the messages of one sender in the order of sending. With
    `room_order`, all messages must also come in the order of the room's numbers.
    """
    messages = [(int(number), sender) for number, sender, _ in MESSAGE.findall(data)]
    numbers = {number for number, _ in messages}
    lost, double = len(set(range(sent)) - numbers), len(messages) - len(numbers)
    messages.sort(key=lambda message: message[1])  # by sender; those of a sender stay in order
    overtaken = sum(a[1] == b[1] and a[0] > b[0] for a, b in pairwise(messages))
    seqs = [int(seq) for seq in SEQ.findall(data)]
    faults = {
        f"lost {lost} of {sent} messages": lost,
        f"got {double} messages twice": double,
        f"got {overtaken} messages before an earlier one of the same sender": overtaken,
        "did not get the room's numbers in order": room_order
        and any(after != before + 1 for before, after in pairwise(seqs)),
        "got errors": b'"error": ' in data,
    }
    return [fault for fault, found in faults.items() if found]


class Client:
    """A socket, the bytes that it has received since `forget`, and the state of both.

    `heard`, if set, is called with each client and the new messages, as matches of `MESSAGE`.
    """

    def __init__(self, job: dict[str, Any], number: int, room: str) -> None:
        """Begin the handshake."""
        source, request = handshake(job, number, f"{room}/")
        self.number = number
        self.socket = socket.create_connection((job["host"], job["port"]), 10, source)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(request)
        self.socket.setblocking(False)
        self.opened = False
        self.ended = ""  # the reason
        self.rest = b""  # the start of a handshake's answer, or of a message for `heard`
        self.heard: Callable[[Client, list[re.Match[bytes]]], None] | None = None
        self.forget()

    def forget(self) -> None:
        """Forget all bytes received so far."""
        self.chunks: list[bytes] = []
        self.pings = 0  # number of answered pings

    @property
    def data(self) -> bytes:
        """All bytes received, in one piece."""
        if len(self.chunks) > 1:
            self.chunks = [b"".join(self.chunks)]
        return self.chunks[0] if self.chunks else b""

    @property
    def messages(self) -> int:
        """The number of messages received."""
        return self.data.count(b'"message": "')

    def send(self, first: int, payload: bytes) -> None:
        """Send one frame, if the connection still exists."""
        try:
            self.socket.send(client_frame(first, payload))
        except OSError as error:
            self.ended = self.ended or repr(error)

    def read(self) -> None:
        """Read once from a socket that has bytes."""
        try:
            data = self.socket.recv(READ)
        except OSError as error:
            self.ended = repr(error)
            return
        if not data:
            self.ended = "ended without a close frame"
        elif self.opened:
            self.take(data)
        else:
            self.rest += data
            head, complete, rest = self.rest.partition(b"\r\n\r\n")
            if complete and (b" 101 " not in head[:16] or ACCEPT not in head):
                self.ended = head.partition(b"\r\n")[0].decode(errors="replace")
            elif complete:
                self.opened, self.rest = True, b""
                self.take(rest)

    def take(self, data: bytes) -> None:
        """Keep the bytes of a server, and answer its pings."""
        self.chunks.append(data)
        # The JSON is ASCII, so these bytes can only be a ping, a close, or a frame's length.
        if b"\x89" in data or b"\x88" in data:
            self.control()
        if self.heard and not self.ended:
            self.rest += data
            if found := list(MESSAGE.finditer(self.rest)):
                self.rest = self.rest[found[-1].end() :]
                self.heard(self, found)

    def control(self) -> None:
        """Answer new pings, and note a close."""
        pings = 0
        for first, payload in read_frames(self.data):
            if first == PING:
                pings += 1
                if pings > self.pings:
                    self.pings = pings
                    self.send(PONG, payload)
            elif first == CLOSE:
                self.ended = f"closed with {int.from_bytes(payload[:2], 'big')}"

    def faults(self, sent: int, room_order: bool) -> list[str]:
        """Return the faults of the connection or, if it has none, those of `find_faults`."""
        if self.ended:
            return [f"socket {self.number} ended: {self.ended}"]
        found = find_faults(self.data, sent, room_order)
        return [f"socket {self.number} {fault}" for fault in found]
