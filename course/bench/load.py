"""The process of the load: `python -m course.bench.load JOB` does one job for one server.

The load is a process of its own, so that it takes nothing from the server's interpreter. It keeps
bytes as they come, and checks them when the clock has stopped. JOB and the printed result are JSON.
"""

import asyncio
import json
import random
import re
import socket
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import pairwise
from operator import sub
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from websockets.frames import Frame, Opcode

from course.core.ports import HOST
from course.core.processes import descendants, processor_seconds

# A job has a number of `sockets`, in one of `rooms` rooms each, after a `warm_up` of some sockets.
# A server shows a `history` of messages. If the job has `senders`, they send for some `seconds`.
# After `patience` seconds, missing messages count as lost; the job fails after `at_most` seconds.
JOB = {"rooms": 1, "history": 0, "warm_up": 0, "query": "", "patience": 15, "at_most": 150}
PAUSE = 0.01  # seconds between two looks at the clients that only keep their bytes
AT_ONCE = 50  # parallel handshakes
TIME_LIMIT = 10.0  # seconds in which a client must catch up: as in conversation.js
MESSAGE = re.compile(rb'"message": "(\d+)\.(\d+)\.(\d+)\.')  # number, sender, nanoseconds
REQUEST = (
    "GET /ws/chat/{room}/{query} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: sessionid={cookie}\r\n\r\n"
)
Result = dict[str, Any]


class Client:
    """A WebSocket, and the bytes that it has received.

    If `hear` is set, it is called with each new message, as a match of `MESSAGE`.
    """

    def __init__(self, job: Result, number: int) -> None:
        self.job, self.number = job, number
        self.room = f"{job['room']}-{number % job['rooms']}"
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.ended = ""  # the reason
        self.data = bytearray()
        self.hear: Callable[[Client, re.Match[bytes]], None] | None = None
        self.heard = 0  # bytes that `hear` has got

    @property
    def messages(self) -> int:
        """The number of messages received."""
        return self.data.count(b'"message": "')

    async def join(self) -> None:
        """Connect, and wait for all that the server sends first; raise OSError if it refuses."""
        loop, port, cookies = asyncio.get_running_loop(), self.job["port"], self.job["cookies"]
        facts = {"host": f"{HOST}:{port}", "cookie": cookies[self.number % len(cookies)]}
        request = REQUEST.format(room=self.room, query=self.job["query"], **facts)
        await loop.sock_connect(self.socket, (HOST, port))
        await loop.sock_sendall(self.socket, request.encode())
        last = b'"caught_up": ' if self.job["kind"] == "step" else b"\r\n\r\n"
        while last not in self.data or self.messages < self.job["history"]:
            self.receive(await loop.sock_recv(self.socket, 65536))
            status = self.data.partition(b"\r\n")[0].decode()
            if self.ended or " 101 " not in status:
                raise ConnectionRefusedError(self.ended or status)
        loop.add_reader(self.socket, self.read)

    def read(self) -> None:
        """Receive the bytes that have come, if any."""
        with suppress(BlockingIOError, ConnectionError):  # after an error, the next bytes are b""
            self.receive(self.socket.recv(65536))

    def receive(self, data: bytes) -> None:
        """Keep bytes, answer a ping, and note the end."""
        self.data += data
        # The JSON is ASCII, so this byte is a ping, or the length of a frame. In the second case
        # the server ignores our answer. A ping has any bytes, also those of a close frame.
        _, close, frame = data.rpartition(b"\x88")
        if ping := data.partition(b"\x89")[2]:
            self.send(Opcode.PONG, ping[1 : 1 + ping[0]])
        elif close and frame and frame[0] == len(frame) - 1:  # a close frame is the last frame
            self.ended = f"closed with {int.from_bytes(frame[1:3])}"
        if not data:
            self.ended = "closed by the server"
        if self.ended:
            asyncio.get_running_loop().remove_reader(self.socket)
            self.socket.close()
        if self.hear:
            for message in MESSAGE.finditer(self.data, self.heard):
                self.heard = message.end()
                self.hear(self, message)

    def send(self, opcode: Opcode, payload: bytes) -> None:
        """Send one frame, if the connection still exists."""
        with suppress(OSError):
            self.socket.send(Frame(opcode, payload).serialize(mask=True))


@cache  # most clients have received the same bytes
def find_faults(data: bytes, sent: int, room_order: bool) -> list[str]:
    """Return the faults in the bytes of a client, whose room was sent `sent` messages.

    Each message must come once, and the messages of one sender in the order of sending. With
    `room_order`, all messages must also come in the order of the room's numbers.
    """
    messages = [(int(sender), int(number)) for number, sender, _ in MESSAGE.findall(data)]
    once = len(set(messages))
    by_sender = sorted(messages, key=lambda message: message[0])  # those of a sender stay in order
    seqs = [int(seq) for seq in re.findall(rb'"seq": (\d+)', data)]
    faults = {
        f"lost {sent - once} of {sent} messages": once < sent,
        f"got {len(messages) - once} messages twice": once < len(messages),
        "got messages of one sender out of order": by_sender != sorted(messages),
        "did not get the room's numbers in order": room_order
        and any(after != before + 1 for before, after in pairwise(seqs)),
        "got errors": b'"error": ' in data,
    }
    return [fault for fault, found in faults.items() if found]


class Load:
    """Clients of one server, the messages that they send, and what both cost."""

    def __init__(self, job: Result) -> None:
        self.job = job
        self.clients: list[Client] = []
        self.sent: Counter[str] = Counter()  # messages, by room
        self.began = self.spent()

    def spent(self) -> list[float]:
        """Return the time, and the processor time of load, server and PostgreSQL, in seconds."""
        postgres = self.job["postgres"]
        database = processor_seconds(postgres, *descendants(postgres))
        server = processor_seconds(self.job["pid"])
        return [time.monotonic(), time.process_time(), server, database]

    def costs(self, count: int, unit: float = 1e6) -> Result:
        """Return the rate of `count` things a second since `began`, and the costs.

        `cpu` is the server's cost of each thing in 1/`unit` seconds, `postgres` that of PostgreSQL
        in microseconds. `client` and `server` are the shares of a core.
        """
        took, client, server, database = map(sub, self.spent(), self.began)
        shares = {"client": client / took, "server": server / took}
        each = {"cpu": server / max(count, 1) * unit, "postgres": database / max(count, 1) * 1e6}
        return {"seconds": took, "rate": count / took} | shares | each

    def memory(self) -> int:
        """Return the memory of the server in KiB; memory shared with others counts in part."""
        lines = Path(f"/proc/{self.job['pid']}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))

    async def join(self, count: int) -> list[float]:
        """Let clients join, `AT_ONCE` at a time; return after how many seconds each was there.

        Raise OSError if one cannot. A crowd comes all at once: each page does what
        `conversation.js` does. It waits for a random time, longer after each failure, and gives up
        a socket that has not caught up in time.
        """
        first, began, crowd = len(self.clients), time.monotonic(), "silence" in self.job
        limit = asyncio.Semaphore(count if crowd else AT_ONCE)

        async def join(number: int) -> float:
            longest = 0.5 if crowd else 0  # seconds
            while True:
                await asyncio.sleep(random.uniform(0, min(15, longest)))
                longest *= 2
                client = Client(self.job, number)
                try:
                    async with limit, asyncio.timeout(TIME_LIMIT):
                        await client.join()
                    self.clients.append(client)
                    return time.monotonic() - began
                except OSError:
                    client.socket.close()
                    if not crowd:
                        raise

        return await asyncio.gather(*map(join, range(first, first + count)))

    def send(self, client: Client) -> None:
        """Send the next message of the client's room."""
        text = f"{self.sent[client.room]}.{client.number}.{time.monotonic_ns()}.{'x' * 40}"
        self.sent[client.room] += 1
        frame = {"message": text, "client_id": uuid.uuid4().hex}
        client.send(Opcode.TEXT, json.dumps(frame).encode())

    def read_at_leisure(self, clients: list[Client]) -> None:
        """Read these clients a hundred times a second, which leaves the processor to the server."""
        for client in clients:
            if not client.ended:
                client.read()
        asyncio.get_running_loop().call_later(PAUSE, self.read_at_leisure, clients)

    async def wait(self, done: Callable[[Client], bool]) -> None:
        """Wait until all clients that are still connected are `done`, but not for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.job["patience"]):
                for client in self.clients:
                    while not (client.ended or done(client)):  # noqa: ASYNC110
                        await asyncio.sleep(0.001)

    async def talk(self) -> Result:
        """Measure how many messages are stored and delivered, and how long they are on the way.

        A sender sends the next message when the last one has come back. If the job has a `rate`,
        the senders take turns at this rate instead.
        """
        senders = self.clients[:: self.job["sockets"] // self.job["senders"]]
        rate, seconds = self.job.get("rate"), self.job["seconds"]
        latencies: list[float] = []  # milliseconds
        self.began = self.spent()
        end = time.monotonic() + seconds

        def hear(client: Client, message: re.Match[bytes]) -> None:
            latencies.append((time.monotonic_ns() - int(message[3])) / 1e6)
            if not rate and int(message[2]) == client.number and time.monotonic() < end:
                self.send(client)

        for sender in senders:
            sender.hear = hear
        listeners = [each for each in self.clients if not (each.hear or each.ended)]
        for each in listeners:
            asyncio.get_running_loop().remove_reader(each.socket)
        self.read_at_leisure(listeners)
        for number in range(int(seconds * rate) if rate else len(senders)):
            self.send(senders[number % len(senders)])
            await asyncio.sleep(1 / rate if rate else 0)
        await asyncio.sleep(end - time.monotonic())
        await self.wait(lambda client: client.messages >= self.sent[client.room])
        reached = sum(client.messages for client in self.clients)
        result = self.costs(self.sent.total() if self.job.get("stores") else reached)
        if len(latencies) > 1:
            cuts = quantiles(latencies, n=100)
            result |= {"median": cuts[49], "p99": cuts[98]}
        return result | {"reached": reached}

    def faults(self) -> list[str]:
        """Return the most frequent faults of the clients."""
        found = Counter[str]()
        order = self.job["kind"] != "tutorial"
        for each in self.clients:
            faults = find_faults(bytes(each.data), self.sent[each.room], order)
            found.update([f"were {each.ended}"] if each.ended else faults)
        return [f"{count} sockets {fault}" for fault, count in found.most_common(3)]


async def main(job: Result) -> Result:
    """Let everybody join, be silent, and talk; return figures and faults."""
    load = Load(job)
    await load.join(job["warm_up"])
    base, load.began = load.memory(), load.spent()
    back = await load.join(job["sockets"])
    result = load.costs(job["sockets"], 1e3) | {"sockets": job["sockets"], "base": base}
    result["memory"] = (load.memory() - base) / job["sockets"]
    if silence := job.get("silence"):
        load.began = load.spent()
        await asyncio.sleep(silence)
        silent = load.costs(0)["server"]
    if "senders" in job:
        result |= await load.talk()
    if silence:
        result |= {"server": silent, "half": median(back), "all": max(back)}
    result["faults"] = load.faults()
    for client in load.clients:
        client.send(Opcode.CLOSE, b"\x03\xe8")
    await load.wait(lambda client: False)  # the server has closed all
    return result


if __name__ == "__main__":
    import uvloop  # not on Windows; asyncio's own loop would need too much processor time

    job = JOB | json.loads(sys.argv[1])
    print(json.dumps(uvloop.run(asyncio.wait_for(main(job), job["at_most"]))))
