"""The process of the load: `python -m course.bench.load JOB` does one job for one server.

The load is a process of its own, so that it takes nothing from the server's interpreter. It keeps
bytes as they come, and checks them when the clock has stopped. JOB and the printed result are JSON;
`contenders.measure` has the default values of a job.
"""

import asyncio
import json
import os
import random
import re
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from websockets.frames import Opcode

from course.bench.client import Client, find_faults
from course.core.processes import descendants

PAUSE = 0.01  # seconds between two looks at the clients that only keep their bytes
AT_ONCE = 50  # parallel handshakes
TIME_LIMIT = 10.0  # seconds in which a page of the crowd must catch up: as in conversation.js
PADDING = "x" * 40
Result = dict[str, Any]


class Load:
    """Clients of one server, and the numbers of the messages that they send."""

    def __init__(self, job: Result) -> None:
        self.job = job
        self.clients: list[Client] = []
        self.sent: Counter[str] = Counter()  # messages, by room
        self.reading: asyncio.Task[None] | None = None

    async def connect(self, number: int) -> None:
        """Add a client in one of the job's rooms; raise OSError if it cannot join."""
        loop, room = asyncio.get_running_loop(), f"{self.job['room']}-{number % self.job['rooms']}"
        _, client = await loop.create_connection(
            lambda: Client(self.job, number, room), self.job["host"], self.job["port"]
        )
        try:
            await client.joined
        except BaseException:
            client.transport.abort()
            raise
        self.clients.append(client)

    async def join(self, sockets: int) -> None:
        """Connect this many clients, `AT_ONCE` at a time; raise SystemExit if one cannot join."""
        limit = asyncio.Semaphore(AT_ONCE)

        async def connect(number: int) -> None:
            async with limit:
                await self.connect(number)

        first = len(self.clients)
        try:
            await asyncio.gather(*map(connect, range(first, first + sockets)))
        except OSError as error:
            raise SystemExit(f"not joined: {error}") from None

    async def read_at_leisure(self, clients: list[Client]) -> None:
        """Read these clients a hundred times a second, which leaves the processor to the server."""
        for client in clients:
            client.at_leisure = True
        while True:
            await asyncio.sleep(PAUSE)
            for client in clients:
                if not client.ended:
                    client.transport.resume_reading()

    def send(self, client: Client) -> None:
        """Send the next message of the client's room."""
        text = f"{self.sent[client.room]}.{client.number}.{time.monotonic_ns()}.{PADDING}"
        self.sent[client.room] += 1
        frame = {"message": text, "client_id": uuid.uuid4().hex}
        client.send(Opcode.TEXT, json.dumps(frame).encode())

    async def until(self, done: Callable[[Client], bool]) -> None:
        """Wait until all clients that are still connected are `done`, but not for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.job["patience"]):
                for client in self.clients:
                    while not (client.ended or done(client)):  # noqa: ASYNC110
                        await asyncio.sleep(0.001)

    async def drain(self) -> int:
        """Wait until every client has every message; return how many have come."""
        await self.until(lambda client: client.messages >= self.sent[client.room])
        return sum(client.messages for client in self.clients)

    def faults(self) -> list[str]:
        """Return the faults of all clients."""
        found = []
        order = self.job["kind"] != "tutorial"
        for each in self.clients:
            reasons = [f"ended: {each.ended}"] if each.ended else []
            reasons = reasons or find_faults(bytes(each.data), self.sent[each.room], order)
            found += [f"socket {each.number} {reason}" for reason in reasons]
        return found

    async def close(self) -> None:
        """Send a close frame on every socket, and wait until the server has closed all."""
        for client in self.clients:
            client.send(Opcode.CLOSE, b"\x03\xe8")
        await self.until(lambda client: False)


def processor_seconds(*pids: int) -> float:
    """Return the processor time of some processes so far, with that of their ended children."""
    found = 0.0
    for pid in pids:
        with suppress(OSError):  # the process has just ended
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return found


def memory(pid: int) -> int:
    """Return the memory of a process in KiB; memory shared with others counts in part."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


class Clock:
    """The elapsed time, and the processor time of load, server and PostgreSQL, from the start."""

    def __init__(self, job: Result) -> None:
        self.job = job
        self.began = self.now()

    def now(self) -> list[float]:
        """Return the four times, in seconds."""
        postgres = self.job["postgres"]
        database = processor_seconds(postgres, *descendants(postgres)) if postgres else 0.0
        server = processor_seconds(self.job["pid"])
        return [time.monotonic(), time.process_time(), server, database]

    def stop(self, count: int, unit: float = 1e6) -> Result:
        """Return the rate of `count` things a second, and the costs.

        `cpu` is the server's cost of each thing in 1/`unit` seconds, `postgres` that of PostgreSQL
        in microseconds. `client` and `server` are the shares of a core.
        """
        now = self.now()
        took, client, server, database = (b - a for a, b in zip(self.began, now, strict=True))
        each = {"cpu": server / max(count, 1) * unit, "postgres": database / max(count, 1) * 1e6}
        return {"rate": count / took, "client": client / took, "server": server / took} | each


async def talk(job: Result, load: Load) -> Result:
    """Measure how many messages are stored and delivered, and how long they are on the way.

    A sender sends the next message when the last one has come back. If the job has a `rate`, the
    senders take turns at this rate instead.
    """
    await load.join(job["sockets"])
    senders = load.clients[:: job["sockets"] // job["senders"]]
    rate = job.get("rate")
    latencies: list[float] = []  # milliseconds
    clock = Clock(job)
    end = time.monotonic() + job["seconds"]

    def hear(client: Client, message: re.Match[bytes]) -> None:
        latencies.append((time.monotonic_ns() - int(message[3])) / 1e6)
        if not rate and int(message[2]) == client.number and time.monotonic() < end:
            load.send(client)

    for sender in senders:
        sender.hear = hear
    others = [client for client in load.clients if not client.hear]
    load.reading = asyncio.create_task(load.read_at_leisure(others))
    for number in range(int(job["seconds"] * rate) if rate else len(senders)):
        load.send(senders[number % len(senders)])
        await asyncio.sleep(1 / rate if rate else 0)
    await asyncio.sleep(end - time.monotonic())
    received = await load.drain()
    result = clock.stop(received if job["measure"] == "deliveries" else load.sent.total())
    latencies.sort()
    for name, part in ("median", 0.5), ("p99", 0.99):
        result[name] = latencies[int(len(latencies) * part)] if latencies else None
    return result


async def joins(job: Result, load: Load) -> Result:
    """Measure how fast everybody can join at once, and what memory they take.

    `warm_up` sockets come before the first look at the memory.
    """
    await load.join(job["warm_up"])
    base = memory(job["pid"])
    clock = Clock(job)
    await load.join(job["sockets"])
    result = clock.stop(job["sockets"], 1e3)
    return result | {"base": base, "memory": (memory(job["pid"]) - base) / job["sockets"]}


async def crowd(job: Result, load: Load) -> Result:
    """Let thousands of pages come back at once and be silent, then send them one message.

    Each page does what `conversation.js` does: it waits for a random time, longer after each
    failure, and gives up a socket that has not caught up in time.
    """
    began = time.monotonic()
    back = []  # seconds until each page was back

    async def come_back(number: int) -> None:
        longest = 0.5  # seconds
        while True:
            await asyncio.sleep(random.uniform(0, min(15, longest)))
            longest *= 2
            with suppress(OSError):
                async with asyncio.timeout(TIME_LIMIT):
                    await load.connect(number)
                    back.append(time.monotonic() - began)
                    return

    await asyncio.gather(*map(come_back, range(job["sockets"])))
    result = {"sockets": job["sockets"], "half": back[len(back) // 2], "all": back[-1]}
    clock = Clock(job)
    await asyncio.sleep(job["seconds"])
    result["server"] = clock.stop(0)["server"]
    sent = time.monotonic()
    load.send(load.clients[0])
    result["reached"] = await load.drain()
    return result | {"seconds": time.monotonic() - sent}


MEASURES = {"idle": joins, "joins": joins, "crowd": crowd}


async def main(job: Result) -> Result:
    """Do one job, and return its result with all faults."""
    load = Load(job)
    result = await MEASURES.get(job["measure"], talk)(job, load)
    result["faults"] = load.faults()
    await load.close()
    return result


if __name__ == "__main__":
    import uvloop  # not on Windows; asyncio's own loop would need too much processor time

    print(json.dumps(uvloop.run(main(json.loads(sys.argv[1])))))
