"""The load: very many WebSocket clients in one process that costs as little as Python can.

A process of its own, `python -m course.bench.client`, so that it takes nothing from the server's
interpreter. It reads a job as JSON from its first argument and prints lines of JSON. Sockets are
read by `select`, without an event loop; frames are counted where they lie, and what they say is
checked when the clock has stopped.
"""

import base64
import hashlib
import json
import os
import re
import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING = 0x81, 0x88, 0x89
PATIENCE = 20.0  # seconds without anything from the server, after which it is not waited for
IN_FLIGHT = 20  # messages that were sent and have not come back to their senders
SENDERS = 10  # sockets that they are spread over
MESSAGE = re.compile(rb'"message": "(\d+)\.(\d+)\.')
SEQ = re.compile(rb'"seq": (\d+)')
PADDING = "x" * 40


def read_frames(data: bytes) -> tuple[list[tuple[int, int, int]], int]:
    """Find the whole frames of a server in `data`.

    Returns a list of (first byte, start of payload, end of payload) and where the rest begins.
    Raises ValueError for frames that these servers have no reason to send.
    """
    found = []
    at, size = 0, len(data)
    while size - at >= 2:
        length, start = data[at + 1], at + 2
        if length == 126:
            start = at + 4
            length = int.from_bytes(data[at + 2 : start], "big")
        elif length == 127:
            start = at + 10
            length = int.from_bytes(data[at + 2 : start], "big")
        elif length > 127:
            raise ValueError("a server masks nothing")
        if start + length > size or start > size:
            break
        found.append((data[at], start, start + length))
        at = start + length
    return found, at


def client_frame(first: int, payload: bytes) -> bytes:
    """Return a masked frame. The mask is zero: correct, and free."""
    size = len(payload)
    if size < 126:
        return bytes([first, 0x80 | size]) + bytes(4) + payload
    return bytes([first, 0x80 | 126]) + size.to_bytes(2, "big") + bytes(4) + payload


@dataclass(slots=True, eq=False)
class Client:
    """One socket: what it has received, whole, and how many text frames that is."""

    socket: socket.socket
    accept: bytes
    opened: bool = False
    rest: bytes = b""
    count: int = 0
    chunks: list[bytes] = field(default_factory=list)
    heard: Callable[[bytes], None] | None = None
    ended: str = ""


class Load:
    """Clients of one server. `job` has host, port, cookies (session keys)."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.selector = selectors.DefaultSelector()
        self.clients: list[Client] = []
        self.frames = 0
        self.opened = 0
        self.ended = 0

    def connect(self, room: str) -> Client:
        """Begin a handshake, as a browser with a session would, but offer no compression."""
        number = len(self.clients)
        key = base64.b64encode(os.urandom(16))
        host = f"{self.job['host']}:{self.job['port']}"
        cookies = self.job["cookies"]
        # Spread over addresses: one has not ports enough for everybody.
        source = f"127.0.0.{2 + number // 10_000}"
        connection = socket.create_connection(
            (self.job["host"], self.job["port"]), 10, source_address=(source, 0)
        )
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(
            f"GET /ws/chat/{room}/ HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key.decode()}\r\n"
            f"Cookie: sessionid={cookies[number % len(cookies)]}\r\n\r\n".encode()
        )
        connection.setblocking(False)
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        client = Client(connection, accept)
        self.clients.append(client)
        self.selector.register(connection, selectors.EVENT_READ, client)
        return client

    def poll(self, seconds: float) -> None:
        """Read what there is, waiting for it at most this long."""
        for key, _ in self.selector.select(seconds):
            client: Client = key.data
            try:
                data = client.socket.recv(262_144)
            except BlockingIOError:
                continue
            except OSError as error:
                self.end(client, repr(error))
                continue
            if not data:
                self.end(client, "end of stream")
                continue
            self.take(client, data)

    def take(self, client: Client, data: bytes) -> None:
        """Take bytes that a server has sent."""
        if client.rest:
            data = client.rest + data
            client.rest = b""
        if not client.opened:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                client.rest = head
                return
            if b" 101 " not in head[:16] or client.accept not in head:
                self.end(client, head[:60].decode(errors="replace"))
                return
            client.opened = True
            self.opened += 1
            if not data:
                return
        # Nearly always this is one text frame, whole.
        if data[0] == TEXT and data[1] == 126 and len(data) == 4 + (data[2] << 8 | data[3]):
            client.count += 1
            self.frames += 1
            client.chunks.append(data)
            if client.heard:
                client.heard(data)
            return
        frames, at = read_frames(data)
        texts = 0
        for first, start, end in frames:
            if first == TEXT:
                texts += 1
            elif first == PING:
                client.socket.send(client_frame(0x8A, data[start:end]))
            elif first == CLOSE:
                code = int.from_bytes(data[start : start + 2], "big")
                self.end(client, f"closed with {code}")
        client.rest = data[at:]
        if texts:
            client.count += texts
            self.frames += texts
            client.chunks.append(data[:at])
            if client.heard:
                client.heard(data[:at])

    def end(self, client: Client, why: str) -> None:
        """Note that a connection ended, which none should."""
        if not client.ended:
            client.ended = why
            self.ended += 1
            self.selector.unregister(client.socket)
            client.socket.close()

    def until(self, done: Callable[[], bool], patience: float = PATIENCE) -> bool:
        """Read until `done`; False when the server has said nothing for `patience` seconds."""
        quiet_since, before = time.monotonic(), self.progress
        while not done():
            self.poll(0.05)
            if self.progress != before:
                quiet_since, before = time.monotonic(), self.progress
            elif time.monotonic() - quiet_since > patience:
                return False
        return True

    @property
    def progress(self) -> tuple[int, int, int]:
        return self.frames, self.opened, self.ended

    def join(self, rooms: list[str], history: int, at_once: int = 50) -> float:
        """Open a socket for each name in `rooms`, `at_once` at a time; return the seconds taken.

        A socket has joined when it got `history` messages.
        """
        began = time.monotonic()
        joining: list[Client] = []
        waiting = iter(rooms)
        left = len(rooms)
        while left:
            while len(joining) < at_once and (room := next(waiting, None)) is not None:
                joining.append(self.connect(room))
            self.poll(5)
            still = [c for c in joining if not c.ended and not (c.opened and c.count >= history)]
            left -= len(joining) - len(still)
            joining = still
            if time.monotonic() - began > 120:
                raise SystemExit("not everybody could join in two minutes")
        took = time.monotonic() - began
        if self.ended:
            raise SystemExit(f"not joined: {next(c.ended for c in self.clients if c.ended)}")
        return took

    def forget(self) -> None:
        """Forget what was received so far."""
        for client in self.clients:
            client.count = 0
            client.chunks.clear()
        self.frames = 0

    def close(self) -> None:
        for client in self.clients:
            client.socket.close()


class Talk:
    """Messages that go out and come back, and what is found out about them."""

    def __init__(self, load: Load, senders: list[Client]) -> None:
        self.load = load
        self.senders = senders
        self.sent = 0
        self.back = 0
        self.run = os.urandom(4).hex()
        self.latencies: list[float] = []

    def send(self, sender: Client) -> None:
        """Send the next message from one socket."""
        now = time.monotonic_ns()
        text = f"{self.sent}.{now}.{PADDING}"
        frame = {"message": text, "client_id": f"{self.run}-{self.sent}"}
        self.sent += 1
        sender.socket.send(client_frame(TEXT, json.dumps(frame).encode()))

    def window(self, seconds: float) -> float:
        """Keep `IN_FLIGHT` messages out for `seconds`; return how long until the last came back."""
        pending: dict[Client, set[int]] = {sender: set() for sender in self.senders}
        going = True

        def send(sender: Client) -> None:
            pending[sender].add(self.sent)
            self.send(sender)

        def hear(sender: Client) -> Callable[[bytes], None]:
            mine = pending[sender]

            def heard(data: bytes) -> None:
                for found in MESSAGE.finditer(data):
                    number = int(found[1])
                    if number in mine:
                        mine.discard(number)
                        self.back += 1
                        if going:
                            send(sender)

            return heard

        for sender in self.senders:
            sender.heard = hear(sender)
        began = time.monotonic()
        for number in range(IN_FLIGHT):
            send(self.senders[number % len(self.senders)])
        while time.monotonic() - began < seconds and not self.load.ended:
            self.load.poll(0.05)
        going = False
        return began

    def steady(self, seconds: float, rate: float, sampled: list[Client]) -> None:
        """Send `rate` messages a second, and note how long they take to `sampled`."""

        def heard(data: bytes) -> None:
            now = time.monotonic_ns()
            self.latencies += [(now - int(found[2])) / 1e6 for found in MESSAGE.finditer(data)]

        for client in sampled:
            client.heard = heard
        began = time.monotonic()
        for number in range(int(seconds * rate)):
            while (left := began + number / rate - time.monotonic()) > 0:
                self.load.poll(left)
            self.send(self.senders[number % len(self.senders)])

    def drain(self, listeners: int) -> bool:
        """Wait until every message has come to each of `listeners` sockets."""
        expected = self.sent * listeners
        return self.load.until(lambda: self.load.frames >= expected or self.load.ended > 0, 5.0)


def faults(load: Load, sent: int, in_order: bool) -> Iterator[str]:
    """Check what every socket got: each message once, and in the order of its numbers."""
    everything = list(range(sent))
    for number, client in enumerate(load.clients):
        if client.ended:
            yield f"socket {number} ended: {client.ended}"
            continue
        data = b"".join(client.chunks)
        got = sorted(int(found) for found, _ in MESSAGE.findall(data))
        if got != everything:
            lost = len(set(everything) - set(got))
            yield f"socket {number} lost {lost} of {sent}, got {len(got) - len(set(got))} twice"
        seqs = [int(found) for found in SEQ.findall(data)]
        if in_order and seqs and seqs != list(range(seqs[0], seqs[0] + len(seqs))):
            yield f"socket {number} got messages out of order"
        if b'"error": ' in data:
            yield f"socket {number} got errors"


def server_seconds(pid: int) -> float:
    """Return the processor time that the server has used so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report(**result: Any) -> None:
    print(json.dumps(result), flush=True)


def percentile(values: list[float], percent: int) -> float:
    """Return the value that `percent` of the sorted `values` do not exceed."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def main(job: dict[str, Any]) -> None:
    """Do one job and print what came of it."""
    load = Load(job)
    began, cpu = time.monotonic(), time.process_time()
    count, room = job["sockets"], job["room"]
    match job["measure"]:
        case "deliveries":
            load.join([room] * count, job["history"])
            load.forget()
            began, cpu = time.monotonic(), time.process_time()
            talk = Talk(load, load.clients[:: max(1, count // SENDERS)][:SENDERS])
            server = server_seconds(job["pid"])
            talk.window(job["seconds"])
            complete = talk.drain(count)
            took = time.monotonic() - began
            used = time.process_time() - cpu
            server = server_seconds(job["pid"]) - server
            wrong = list(faults(load, talk.sent, job["in_order"]))
            report(
                value=load.frames / took, sent=talk.sent, complete=complete,
                client_cpu=used / took, faults=wrong,
                server_cpu=server / took, per_cpu_second=load.frames / server,
            )
        case "latency":
            load.join([room] * count, job["history"])
            load.forget()
            began, cpu = time.monotonic(), time.process_time()
            talk = Talk(load, load.clients[:: max(1, count // SENDERS)][:SENDERS])
            talk.steady(job["seconds"], job["rate"], load.clients[1 :: max(1, count // 10)])
            talk.drain(count)
            wrong = list(faults(load, talk.sent, job["in_order"]))
            took = time.monotonic() - began
            report(
                median=percentile(talk.latencies, 50), p99=percentile(talk.latencies, 99),
                sent=talk.sent, client_cpu=(time.process_time() - cpu) / took, faults=wrong,
            )
        case "connections":
            took = load.join([room] * count, job["history"], 50)
            report(value=count / took, client_cpu=(time.process_time() - cpu) / took, faults=[])
        case "stored":
            rooms = [f"{room}-{number % job['rooms']}" for number in range(count)]
            load.join(rooms, 0)
            load.forget()
            began, cpu = time.monotonic(), time.process_time()
            talk = Talk(load, load.clients)
            talk.window(job["seconds"])
            load.until(lambda: talk.back >= talk.sent or load.ended > 0, 5.0)
            took = time.monotonic() - began
            lost = talk.sent - talk.back
            report(
                value=talk.back / took, client_cpu=(time.process_time() - cpu) / took,
                faults=[f"{lost} messages lost"] if lost else [],
            )
        case "idle":
            load.join([f"{room}-{number % job['rooms']}" for number in range(count)], 0)
            load.until(lambda: False, 1.0)
            report(open=load.opened)
            sys.stdin.readline()
    load.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
