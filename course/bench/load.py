"""Many clients of one server, in a process that costs as little as Python can.

The load has no event loop: it keeps bytes as they come, and checks them when the clock has stopped.
It reads a socket that sends at once. It reads a socket that only listens a hundred times a second,
which leaves the processor to the server.
"""

import json
import os
import re
import select
import time
from collections.abc import Callable, Iterable
from typing import Any

from course.bench.client import CLOSE, TEXT, Client

PAUSE = 0.01  # seconds between two looks at the sockets that only listen
AT_ONCE = 50  # parallel handshakes
PADDING = "x" * 40


class Load:
    """Clients of one server.

    `job` has host, port, cookies (session keys), room (the start of the rooms' names), rooms (how
    many), history (the messages that a join shows), greets (whether a join ends with the frame
    `caught_up`), room_order (whether a room's messages come in the order of their numbers), and
    patience: the seconds of silence after which the load gives up the server.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.at_once, self.at_leisure = select.epoll(), select.epoll()
        self.look_again = 0.0
        self.clients: list[Client] = []
        self.by_file: dict[int, Client] = {}
        self.ended = 0
        self.last_sign = 0.0  # when the server has last done something

    def poll(self, seconds: float = PAUSE) -> None:
        """Read the bytes that have come; wait for bytes at most `seconds` and at most `PAUSE`."""
        now = time.monotonic()
        if now >= self.look_again:
            self.look_again = now + PAUSE
            self.read(self.at_leisure.poll(0, 65_536))
        self.read(self.at_once.poll(min(seconds, PAUSE)))

    def read(self, events: list[tuple[int, int]]) -> None:
        """Read once from each socket that has bytes; close the sockets that have ended."""
        for file, _ in events:
            client = self.by_file[file]
            client.read()
            if client.ended:
                self.ended += 1
                del self.by_file[file]
                client.socket.close()
        if events:
            self.last_sign = time.monotonic()

    def until(self, done: Callable[[], bool]) -> None:
        """Read until `done`, or until the server has been silent for too long."""
        self.last_sign = time.monotonic()
        while not done() and time.monotonic() - self.last_sign <= self.job["patience"]:
            self.poll()

    def join(self, sockets: int) -> None:
        """Connect this many sockets to the job's rooms, `AT_ONCE` at a time; wait for all of them.

        A socket has joined when it has received the history, and the greeting of a server that
        greets. Raise SystemExit if a socket cannot join.
        """

        def joined(client: Client) -> bool:
            greeted = not self.job["greets"] or b"caught_up" in client.data
            return client.opened and greeted and client.messages >= self.job["history"]

        joining: list[Client] = []
        while sockets or joining:
            while sockets and len(joining) < AT_ONCE:
                sockets -= 1
                room = f"{self.job['room']}-{sockets % self.job['rooms']}"
                client = Client(self.job, len(self.clients), room)
                self.clients.append(client)
                joining.append(client)
                self.by_file[client.socket.fileno()] = client
                self.at_once.register(client.socket, select.EPOLLIN)
            self.poll()
            if self.ended:
                raise SystemExit(f"not joined: {next(c.ended for c in self.clients if c.ended)}")
            joining = [client for client in joining if not joined(client)]

    def faults(self, sent: int) -> list[str]:
        """Return the faults of all sockets, which should have received `sent` messages."""
        order = self.job["room_order"]
        return [fault for client in self.clients for fault in client.faults(sent, order)]

    def close(self) -> None:
        """Send a close frame on every socket, and wait until the server has closed all."""
        for client in self.by_file.values():
            client.send(CLOSE, b"\x03\xe8")
        self.until(lambda: not self.by_file)


class Talk:
    """The messages of one measure: how many were sent and are on the way, and how fast they are."""

    def __init__(self, load: Load, senders: list[Client], listening: Iterable[Client] = ()) -> None:
        """Begin: from now on, read only `senders` and `listening` at once."""
        self.load = load
        self.senders = senders
        self.sent = 0
        self.on_the_way: dict[int, Client] = {}  # the senders, by the numbers of the messages
        self.run = os.urandom(4).hex()
        self.latencies: list[float] = []  # milliseconds
        for client in load.clients:
            client.forget()
        for client in {*load.clients}.difference(senders, listening):
            load.at_once.unregister(client.socket)
            load.at_leisure.register(client.socket, select.EPOLLIN)

    def send(self, sender: Client) -> None:
        """Send the next message from one socket."""
        text = f"{self.sent}.{sender.number}.{time.monotonic_ns()}.{PADDING}"
        frame = {"message": text, "client_id": f"{self.run}-{self.sent}"}
        self.on_the_way[self.sent] = sender
        self.sent += 1
        sender.send(TEXT, json.dumps(frame).encode())

    def window(self, seconds: float, in_flight: int) -> None:
        """Keep `in_flight` messages on the way: a sender that gets one back sends the next."""
        end = time.monotonic() + seconds

        def heard(client: Client, messages: list[re.Match[bytes]]) -> None:
            for message in messages:
                number = int(message[1])
                if self.on_the_way.get(number) is client:
                    del self.on_the_way[number]
                    if time.monotonic() < end:
                        self.send(client)

        for sender in self.senders:
            sender.heard = heard
        for number in range(in_flight):
            self.send(self.senders[number % len(self.senders)])
        while time.monotonic() < end and not self.load.ended:
            self.load.poll()

    def steady(self, seconds: float, rate: float, sampled: list[Client]) -> None:
        """Send `rate` messages a second, and note how long each takes to reach `sampled`."""

        def heard(client: Client, messages: list[re.Match[bytes]]) -> None:
            now = time.monotonic_ns()
            self.latencies += [(now - int(message[3])) / 1e6 for message in messages]

        for client in sampled:
            client.heard = heard
        began = time.monotonic()
        for number in range(int(seconds * rate)):
            while (left := began + number / rate - time.monotonic()) > 0:
                self.load.poll(left)
            self.send(self.senders[number % len(self.senders)])

    def drain(self) -> None:
        """Wait until every socket has every message, or until the server falls silent."""
        waiting = [*self.load.clients]

        def done() -> bool:
            while waiting and (waiting[-1].ended or waiting[-1].messages >= self.sent):
                waiting.pop()
            return not waiting

        self.load.until(done)
