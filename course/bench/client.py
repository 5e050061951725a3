"""The load: very many WebSocket clients in one process that costs as little as Python can.

The load is a process of its own, `python -m course.bench.client`, so that it takes nothing from the
server's interpreter. It reads a job as JSON from its first argument and prints lines of JSON. The
load has no event loop: it keeps bytes as they come, and checks them when the clock has stopped. It
reads a socket that sends at once. It reads a socket that only listens a hundred times a second,
which leaves the processor to the server.
"""

import base64
import hashlib
import json
import os
import re
import select
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from course.bench.comeback import come_back

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
READ = 65_536  # bytes at a time; Python would allocate and free a bigger buffer at each read
PAUSE = 0.01  # seconds between two looks at the sockets that only listen
AT_ONCE = 50  # parallel handshakes
JOINING = 120.0  # seconds for everybody to join
SENDERS = 20  # sockets that send in a big room: one for each message in flight
SAMPLED = 10  # sockets at which latency is noted
PER_ADDRESS = 10_000  # sockets; one address has too few ports for everybody
MESSAGE = re.compile(rb'"message": "(\d+)\.(\d+)\.(\d+)\.')  # number, sender, nanoseconds
SEQ = re.compile(rb'"seq": (\d+)')
PADDING = "x" * 40
SMALLEST = 100  # bytes; no frame with a message is smaller


def read_frames(data: bytes) -> tuple[list[tuple[int, int, int]], int]:
    """Find the whole frames of a server in `data`.

    Return a list of (first byte, start of payload, end of payload), and the start of the rest.
    Raise ValueError for frames that these servers have no reason to send.
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
    """Return a masked frame. The zero mask is correct and costs nothing."""
    size = len(payload)
    if size < 126:
        return bytes([first, 0x80 | size]) + bytes(4) + payload
    return bytes([first, 0x80 | 126]) + size.to_bytes(2, "big") + bytes(4) + payload


@dataclass(slots=True, eq=False)
class Client:
    """One socket, the bytes that it has received since `forget`, and the state of both."""

    number: int
    socket: socket.socket
    accept: bytes
    opened: bool = False
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0  # bytes in `chunks`, without pings
    pings: int = 0  # number of answered pings
    rest: bytes = b""  # start of an incomplete frame; kept for clients with `heard`
    heard: Callable[[bytes], None] | None = None
    ended: str = ""

    @property
    def data(self) -> bytes:
        """All bytes received, in one piece."""
        if len(self.chunks) > 1:
            self.chunks = [b"".join(self.chunks)]
        return self.chunks[0] if self.chunks else b""

    @property
    def texts(self) -> int:
        """The number of text frames received."""
        return sum(first == TEXT for first, _, _ in read_frames(self.data)[0])


class Load:
    """Clients of one server.

    `job` has host, port, cookies (session keys), greets (whether a join ends with the frame
    `caught_up`), and patience: the seconds of silence after which the load gives up the server.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.at_once = select.epoll()
        self.at_leisure = select.epoll()
        self.look_again = 0.0
        self.clients: list[Client] = []
        self.by_file: dict[int, Client] = {}
        self.received = self.opened = self.ended = 0

    def connect(self, room: str) -> Client:
        """Begin a handshake like a browser with a session, but offer no compression."""
        number = len(self.clients)
        key = base64.b64encode(os.urandom(16))
        host = f"{self.job['host']}:{self.job['port']}"
        cookies = self.job["cookies"]
        source = f"127.0.0.{2 + number // PER_ADDRESS}"
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
        client = Client(number, connection, accept)
        self.clients.append(client)
        self.by_file[connection.fileno()] = client
        self.at_once.register(connection, select.EPOLLIN)
        return client

    def read_at_leisure(self, clients: Iterable[Client]) -> None:
        """Read these clients only every `PAUSE` seconds from now on."""
        for client in clients:
            self.at_once.unregister(client.socket)
            self.at_leisure.register(client.socket, select.EPOLLIN)

    def poll(self, seconds: float) -> None:
        """Read the bytes that have come; wait for bytes at most this long."""
        now = time.monotonic()
        if now >= self.look_again:
            self.look_again = now + PAUSE
            self.read(self.at_leisure.poll(0, 65_536))
        self.read(self.at_once.poll(min(seconds, PAUSE)))

    def read(self, events: list[tuple[int, int]]) -> None:
        """Read once from each socket that has bytes."""
        for file, _ in events:
            client = self.by_file[file]
            try:
                data = client.socket.recv(READ)
            except BlockingIOError:
                continue
            except OSError as error:
                self.end(client, repr(error))
                continue
            if not data:
                self.end(client, "ended without a close frame")
            elif client.opened:
                self.take(client, data)
            else:
                self.shake_hands(client, data)

    def shake_hands(self, client: Client, data: bytes) -> None:
        """Check the answer to a handshake, and take the frames that may follow it."""
        client.rest += data
        head, found, data = client.rest.partition(b"\r\n\r\n")
        if not found:
            return
        client.rest = b""
        if b" 101 " not in head[:16] or client.accept not in head:
            self.end(client, head[:60].decode(errors="replace"))
            return
        client.opened = True
        self.opened += 1
        if data:
            self.take(client, data)

    def take(self, client: Client, data: bytes) -> None:
        """Keep what a server has sent, and answer its pings."""
        client.chunks.append(data)
        client.size += len(data)
        self.received += len(data)
        # The JSON is ASCII, so these bytes can only be a ping, a close, or a frame's length.
        if b"\x89" in data or b"\x88" in data:
            self.control(client)
        if client.heard and not client.ended:
            data = client.rest + data
            at = read_frames(data)[1]
            client.rest = data[at:]
            client.heard(data[:at])

    def control(self, client: Client) -> None:
        """Answer new pings, and note a close."""
        data, new = client.data, -client.pings
        for first, start, end in read_frames(data)[0]:
            if first == PING:
                new += 1
                if new > 0:
                    client.pings += 1
                    client.size -= end - start + 2
                    client.socket.send(client_frame(PONG, data[start:end]))
            elif first == CLOSE:
                code = int.from_bytes(data[start : start + 2], "big")
                self.end(client, f"closed with {code}")

    def end(self, client: Client, why: str) -> None:
        """Note that a connection ended. During a measure, no connection should end."""
        if not client.ended:
            client.ended = why
            self.ended += 1
            del self.by_file[client.socket.fileno()]
            client.socket.close()

    def until(self, done: Callable[[], bool]) -> bool:
        """Read until `done`; return False if the server has been silent for too long."""
        quiet_since, before = time.monotonic(), self.progress
        while not done():
            self.poll(0.05)
            if self.progress != before:
                quiet_since, before = time.monotonic(), self.progress
            elif time.monotonic() - quiet_since > self.job["patience"]:
                return False
        return True

    @property
    def progress(self) -> tuple[int, int, int]:
        """Numbers that change when the server does something."""
        return self.received, self.opened, self.ended

    def join(self, rooms: list[str], history: int) -> float:
        """Open a socket for each name in `rooms`, `AT_ONCE` at a time; return the seconds taken.

        A socket has joined when it has received `history` messages, and the greeting of a server
        that greets. Raise SystemExit if a socket cannot join.
        """
        frames = history + self.job["greets"]
        began = time.monotonic()
        joining: list[Client] = []
        waiting = iter(rooms)
        left = len(rooms)
        while left:
            while len(joining) < AT_ONCE and (room := next(waiting, None)) is not None:
                joining.append(self.connect(room))
            self.poll(5)
            if self.ended:
                raise SystemExit(f"not joined: {next(c.ended for c in self.clients if c.ended)}")
            still = [
                c
                for c in joining
                if not c.opened or (c.size < history * SMALLEST) or (frames and c.texts < frames)
            ]
            left -= len(joining) - len(still)
            joining = still
            if time.monotonic() - began > JOINING:
                raise SystemExit(f"not everybody could join in {JOINING:.0f} seconds")
        return time.monotonic() - began

    def forget(self) -> None:
        """Forget all bytes received so far."""
        for client in self.clients:
            client.chunks.clear()
            client.size = client.pings = 0

    def close(self) -> None:
        """Send a close frame on every socket, and wait until the server has closed all."""
        for client in self.clients:
            if not client.ended:
                client.socket.send(client_frame(CLOSE, b"\x03\xe8"))
        self.until(lambda: self.ended == len(self.clients))


class Talk:
    """The messages of one measure: how many were sent and came back, and how fast."""

    def __init__(self, load: Load, senders: list[Client], listening: Iterable[Client] = ()) -> None:
        self.load = load
        self.senders = senders
        self.sent = 0
        self.back = 0
        self.run = os.urandom(4).hex()
        self.latencies: list[float] = []
        load.forget()
        at_once = {*senders, *listening}
        load.read_at_leisure(client for client in load.clients if client not in at_once)

    def send(self, sender: Client) -> None:
        """Send the next message from one socket."""
        text = f"{self.sent}.{sender.number}.{time.monotonic_ns()}.{PADDING}"
        frame = {"message": text, "client_id": f"{self.run}-{self.sent}"}
        self.sent += 1
        sender.socket.send(client_frame(TEXT, json.dumps(frame).encode()))

    def window(self, seconds: float, in_flight: int) -> None:
        """Keep `in_flight` messages on the way: a sender that gets one back sends the next."""
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
        for number in range(in_flight):
            send(self.senders[number % len(self.senders)])
        while time.monotonic() - began < seconds and not self.load.ended:
            self.load.poll(0.05)
        going = False

    def steady(self, seconds: float, rate: float, sampled: list[Client]) -> None:
        """Send `rate` messages a second, and note how long each takes to reach `sampled`."""

        def heard(data: bytes) -> None:
            now = time.monotonic_ns()
            self.latencies += [(now - int(found[3])) / 1e6 for found in MESSAGE.finditer(data)]

        for client in sampled:
            client.heard = heard
        began = time.monotonic()
        for number in range(int(seconds * rate)):
            while (left := began + number / rate - time.monotonic()) > 0:
                self.load.poll(left)
            self.send(self.senders[number % len(self.senders)])

    def drain(self) -> bool:
        """Wait until every socket has every message; return False if the server falls silent.

        All sockets are in one room, so they get the same frames and the same number of bytes.
        """

        def done() -> bool:
            alive = [client for client in self.load.clients if not client.ended]
            if any(client.size != alive[0].size for client in alive):
                return False
            return not alive or alive[0].texts >= self.sent

        return self.load.until(done)


def faults(clients: list[Client], sent: int, room_order: bool) -> Iterator[str]:
    """Yield the faults of each socket, which should have received `sent` messages.

    Each message must come once, and the messages of one sender in the order of sending. With
    `room_order`, all messages must also come in the order of the room's numbers, the same for all.
    """
    known: dict[bytes, list[str]] = {}
    for client in clients:
        if client.ended:
            yield f"socket {client.number} ended: {client.ended}"
            continue
        # Most sockets have received the same bytes: check these bytes once.
        if client.data not in known:
            known[client.data] = list(wrong(client.data, sent, room_order))
        for what in known[client.data]:
            yield f"socket {client.number} {what}"


def wrong(data: bytes, sent: int, room_order: bool) -> Iterator[str]:
    """Yield the faults in the bytes that one socket has received."""
    messages = [(int(number), sender) for number, sender, _ in MESSAGE.findall(data)]
    numbers = {number for number, _ in messages}
    if lost := len(set(range(sent)) - numbers):
        yield f"lost {lost} of {sent} messages"
    if double := len(messages) - len(numbers):
        yield f"got {double} messages twice"
    last: dict[bytes, int] = {}
    overtaken = 0
    for number, sender in messages:
        overtaken += last.get(sender, -1) > number
        last[sender] = number
    if overtaken:
        yield f"got {overtaken} messages before an earlier one of the same sender"
    seqs = [int(found) for found in SEQ.findall(data)]
    if room_order and any(after != before + 1 for before, after in pairwise(seqs)):
        yield "did not get the room's numbers in order"
    if b'"error": ' in data:
        yield "got errors"


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process so far, with that of its ended children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def percentile(values: list[float], percent: int) -> float:
    """Return the value that `percent` of the values do not exceed; NaN if there are no values."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(values) - 1, len(values) * percent // 100)]


class Clock:
    """The elapsed time, and the processor time of server and client, since the clock was made."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.began, self.client, self.server = self.now()

    def now(self) -> tuple[float, float, float]:
        """Return the three times, in seconds."""
        return time.monotonic(), time.process_time(), processor_seconds(self.pid)

    def stop(self) -> tuple[float, float, dict[str, float]]:
        """Return seconds, the server's processor seconds, and client's and server's core shares."""
        now, client, server = self.now()
        took = now - self.began
        used = server - self.server
        return took, used, {"client": (client - self.client) / took, "server": used / took}


def report(**result: Any) -> None:
    """Print a line that the driver reads."""
    print(json.dumps(result), flush=True)


def some(clients: list[Client], count: int) -> list[Client]:
    """Return about `count` of the clients, evenly spread."""
    return clients[:: max(1, len(clients) // count)][:count]


def deliveries(job: dict[str, Any], load: Load) -> None:
    """Measure how fast the server stores messages and delivers them to one full room."""
    load.join([job["room"]] * job["sockets"], 0)
    talk = Talk(load, some(load.clients, SENDERS))
    clock = Clock(job["pid"])
    talk.window(job["seconds"], job["in_flight"])
    talk.drain()
    took, used, shares = clock.stop()
    delivered = sum(client.texts for client in load.clients)
    report(
        count=delivered,
        rate=delivered / took,
        cpu=used / max(delivered, 1) * 1e6,
        faults=list(faults(load.clients, talk.sent, job["room_order"])),
        **shares,
    )


def latency(job: dict[str, Any], load: Load) -> None:
    """Measure delivery times at a moderate rate of messages, the same for every server."""
    load.join([job["room"]] * job["sockets"], 0)
    sampled = some(load.clients[1:], SAMPLED)
    talk = Talk(load, some(load.clients, SENDERS), sampled)
    clock = Clock(job["pid"])
    talk.steady(job["seconds"], job["rate"], sampled)
    talk.drain()
    _, _, shares = clock.stop()
    report(
        median=percentile(talk.latencies, 50),
        p99=percentile(talk.latencies, 99),
        faults=list(faults(load.clients, talk.sent, job["room_order"])),
        **shares,
    )


def joins(job: dict[str, Any], load: Load) -> None:
    """Measure how fast everybody can join at once, with a session cookie and the history."""
    clock = Clock(job["pid"])
    load.join([job["room"]] * job["sockets"], job["history"])
    took, used, shares = clock.stop()
    count = job["sockets"]
    report(count=count, rate=count / took, cpu=used / count * 1e3, faults=[], **shares)


def stored(job: dict[str, Any], load: Load) -> None:
    """Measure how many messages the server can store, while few people hear them."""
    rooms = [f"{job['room']}-{number % job['rooms']}" for number in range(job["sockets"])]
    load.join(rooms, 0)
    talk = Talk(load, load.clients)
    clock = Clock(job["pid"])
    talk.window(job["seconds"], job["in_flight"])
    load.until(lambda: talk.back >= talk.sent or load.ended > 0)
    took, used, shares = clock.stop()
    lost = talk.sent - talk.back
    report(
        count=talk.back,
        rate=talk.back / took,
        cpu=used / max(talk.back, 1) * 1e6,
        faults=[f"{lost} of {talk.sent} messages did not come back"] if lost else [],
        **shares,
    )


def idle(job: dict[str, Any], load: Load) -> None:
    """Open some sockets to warm the server up, then many that do nothing.

    Wait for a line of input after both, while the driver reads the server's memory.
    """
    load.join([f"{job['room']}-{number % job['rooms']}" for number in range(job["warm_up"])], 0)
    report()
    sys.stdin.readline()
    clock = Clock(job["pid"])
    load.join([f"{job['room']}-{number % job['rooms']}" for number in range(job["sockets"])], 0)
    took, used, shares = clock.stop()
    report(rate=job["sockets"] / took, cpu=used / job["sockets"] * 1e3, faults=[], **shares)
    sys.stdin.readline()


def crowd(job: dict[str, Any], load: Load) -> None:
    """Keep a full room silent for a while; then send one message that all should hear."""
    joined = load.join([job["room"]] * job["sockets"], 0)
    clock = Clock(job["pid"])
    end = time.monotonic() + job["seconds"]
    while time.monotonic() < end:
        load.poll(1)
    _, _, shares = clock.stop()
    alive = job["sockets"] - load.ended
    pings = sum(client.pings for client in load.clients)
    talk = Talk(load, load.clients[:1])
    began = time.monotonic()
    talk.send(load.clients[0])
    talk.drain()
    report(
        joined=joined,
        alive=alive,
        pings=pings,
        reached=sum(client.texts for client in load.clients if not client.ended),
        seconds=time.monotonic() - began,
        faults=list(faults(load.clients, 1, job["room_order"])),
        **shares,
    )


def comeback(job: dict[str, Any], load: Load) -> None:
    """Let everybody connect again as pages do that have lost the server."""
    report(**come_back(job))


def main(job: dict[str, Any]) -> None:
    """Do one job and print its results."""
    load = Load(job)
    measures = (deliveries, latency, joins, stored, idle, crowd, comeback)
    {measure.__name__: measure for measure in measures}[job["measure"]](job, load)
    load.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
