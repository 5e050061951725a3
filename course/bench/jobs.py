"""The process of the load: `python -m course.bench.jobs JOB` does one job for one server.

The load is a process of its own, so that it takes nothing from the server's interpreter. JOB and
the printed result are JSON. The result of a job has the server's and the load's share of a core,
and faults; `rate` is per second, and `cpu` is the server's processor time for each.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from course.bench.client import Client
from course.bench.comeback import come_back
from course.bench.load import Load, Talk
from course.core.processes import descendants

SENDERS = 20  # sockets that send in a big room: one for each message in flight
SAMPLED = 10  # sockets at which latency is noted
Result = dict[str, Any]


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
    """The elapsed time, and the processor time of server and load, from the start to `stop`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.began = self.now()

    def now(self) -> tuple[float, float, float]:
        """Return the three times, in seconds."""
        return time.monotonic(), time.process_time(), processor_seconds(self.pid)

    def stop(self) -> None:
        """Keep the three times, and the shares of a core."""
        now = self.now()
        self.took, load, self.server = (b - a for a, b in zip(self.began, now, strict=True))
        self.shares: Result = {"client": load / self.took, "server": self.server / self.took}

    def rates(self, count: int, unit: float) -> Result:
        """Return the rate of `count` things, the cost of each in 1/`unit` seconds, the shares."""
        cost = self.server / max(count, 1) * unit
        return {"rate": count / self.took, "cpu": cost} | self.shares


def some(clients: list[Client], count: int) -> list[Client]:
    """Return about `count` of the clients, evenly spread."""
    return clients[:: max(1, len(clients) // count)][:count]


def deliveries(job: Result, load: Load) -> Result:
    """Measure how fast the server stores messages and delivers them to one full room."""
    load.join(job["sockets"])
    talk = Talk(load, some(load.clients, SENDERS))
    clock = Clock(job["pid"])
    talk.window(job["seconds"], job["in_flight"])
    talk.drain()
    clock.stop()
    count = sum(client.messages for client in load.clients)
    return {"count": count, "faults": load.faults(talk.sent)} | clock.rates(count, 1e6)


def latency(job: Result, load: Load) -> Result:
    """Measure delivery times at a moderate rate of messages, the same for every server."""
    load.join(job["sockets"])
    sampled = some(load.clients[1:], SAMPLED)
    talk = Talk(load, some(load.clients, SENDERS), sampled)
    clock = Clock(job["pid"])
    talk.steady(job["seconds"], job["rate"], sampled)
    talk.drain()
    clock.stop()
    result: Result = {"faults": load.faults(talk.sent)} | clock.shares
    if len(talk.latencies) > 1:
        percentiles = statistics.quantiles(talk.latencies, n=100)
        result |= {"median": percentiles[49], "p99": percentiles[98]}
    return result


def joins(job: Result, load: Load) -> Result:
    """Measure how fast everybody can join at once, with a session cookie and the history."""
    count = job["sockets"]
    clock = Clock(job["pid"])
    load.join(count)
    clock.stop()
    return {"count": count, "faults": []} | clock.rates(count, 1e3)


def stored(job: Result, load: Load) -> Result:
    """Measure how many messages the server can store, while few people hear them."""
    load.join(job["sockets"])
    talk = Talk(load, load.clients)
    clock = Clock(job["pid"])
    talk.window(job["seconds"], job["in_flight"])
    load.until(lambda: not talk.on_the_way or load.ended > 0)
    clock.stop()
    lost = len(talk.on_the_way)
    faults = [f"{lost} of {talk.sent} messages did not come back"] if lost else []
    return {"count": talk.sent - lost, "faults": faults} | clock.rates(talk.sent - lost, 1e6)


def idle(job: Result, load: Load) -> Result:
    """Measure the memory of sockets that do nothing, after a few that warm the server up."""
    load.join(job["warm_up"])
    base = memory(job["pid"])
    clock = Clock(job["pid"])
    load.join(job["sockets"])
    clock.stop()
    result: Result = {"base": base, "memory": (memory(job["pid"]) - base) / job["sockets"]}
    return result | {"faults": []} | clock.rates(job["sockets"], 1e3)


def crowd(job: Result, load: Load) -> Result:
    """Keep a full room silent for a while; then send one message that all should hear."""
    began = time.monotonic()
    load.join(job["sockets"])
    joined = time.monotonic()
    clock = Clock(job["pid"])
    while time.monotonic() < joined + job["seconds"]:
        load.poll()
    clock.stop()
    result: Result = {"joined": joined - began, "alive": len(load.by_file)} | clock.shares
    result["pings"] = sum(client.pings for client in load.clients)
    talk = Talk(load, load.clients[:1])
    sent = time.monotonic()
    talk.send(load.clients[0])
    talk.drain()
    return result | {
        "reached": sum(client.messages for client in load.by_file.values()),
        "seconds": time.monotonic() - sent,
        "faults": load.faults(1),
    }


def family_seconds(pid: int | None) -> float:
    """Return the processor time of a process and of all its descendants; 0 for None."""
    return processor_seconds(pid, *descendants(pid)) if pid else 0.0


def main(job: Result) -> Result:
    """Do one job and return its result, with PostgreSQL's microseconds for each counted thing."""
    if job["measure"] == "comeback":
        return asyncio.run(come_back(job))
    before = family_seconds(job["postgres"])
    load = Load(job)
    measures = (deliveries, latency, joins, stored, idle, crowd)
    result = {measure.__name__: measure for measure in measures}[job["measure"]](job, load)
    load.close()
    if job["postgres"] and result.get("count"):
        result["postgres"] = (family_seconds(job["postgres"]) - before) / result["count"] * 1e6
    return result


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
