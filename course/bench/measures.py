"""The measures, their order, and the run of one contender through all of them."""

import json
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from course.bench.client import processor_seconds
from course.bench.contenders import Contender, Yard, address
from course.core.processes import descendants, stop
from course.core.steps import ROOT
from course.stack import Part

Result = dict[str, Any]  # the result of one measure of one contender in one run
GIVE_UP = 150.0  # seconds for one measure


@dataclass(frozen=True)
class Plan:
    """The size of each measure. The defaults are for `make bench`; 0 leaves a measure out."""

    rooms: tuple[int, ...] = (100, 500)  # sockets in the one room, for deliveries
    seconds: float = 2  # of deliveries, and of storing
    rate: float = 20  # messages per second, for latency
    latency_seconds: float = 3
    joiners: int = 300  # sockets, each shown a history of 50
    warm_up: int = 50  # sockets before the first look at the memory
    idle: int = 1000  # sockets in 20 rooms, joined for the rate and kept for the memory
    crowd: int = 5000  # sockets in one room
    crowd_seconds: float = 26  # of silence; the servers send pings after 20

    patience: float = 5  # seconds of silence after which missing messages count as lost

    @property
    def files(self) -> int:
        """The largest number of files that a process has to open, with some to spare."""
        return max(self.crowd, self.idle + self.warm_up, *self.rooms) + 200


def jobs(contender: Contender, plan: Plan) -> list[tuple[str, Result]]:
    """Return the name of each measure that a contender takes part in, and its job."""
    talk = {"seconds": plan.seconds, "in_flight": 20}
    found: list[tuple[str, Result]] = [
        # This measure comes first: it needs a process that has done nothing yet.
        ("idle", {"measure": "idle", "sockets": plan.idle, "warm_up": plan.warm_up, "rooms": 20}),
    ]
    if contender.stores and plan.joiners:
        history = {"sockets": plan.joiners, "room": "history", "history": 50}
        found.append(("joins", {"measure": "joins", **history}))
    found += [
        (f"deliveries_{sockets}", {"measure": "deliveries", "sockets": sockets, **talk})
        for sockets in plan.rooms
    ]
    if plan.latency_seconds:
        steady = {"rate": plan.rate, "seconds": plan.latency_seconds, "sockets": plan.rooms[0]}
        found.append(("latency", {"measure": "latency", **steady}))
    if contender.stores:
        # A consumer handles one message after the other, so a socket has one in flight.
        one = {"sockets": 20, "rooms": 1, **talk}
        twenty = {"sockets": 40, "rooms": 20, **talk, "in_flight": 40}
        found += [
            ("stored_1", {"measure": "stored", **one}),
            ("stored_20", {"measure": "stored", **twenty}),
        ]
    return found


def proportional_memory(pid: int) -> int:
    """Return the memory of a process in KiB; memory shared with others counts in part."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError("the system does not say how much memory a process has")


def family_seconds(pid: int) -> float:
    """Return the processor time of a process, its children, and those children that have ended."""
    found = 0.0
    for each in (pid, *descendants(pid)):
        with suppress(OSError):  # the process has just ended
            found += processor_seconds(each)
    return found


class LoadFailed(Exception):
    """The load could not do its job. The message says why."""


class LoadProcess:
    """A running load: the process prints lines of JSON and may wait for a line."""

    def __init__(self, python: Path, job: Result) -> None:
        self.process = subprocess.Popen(
            [str(python), "-m", "course.bench.client", json.dumps(job)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.timer = threading.Timer(GIVE_UP, self.process.kill)
        self.timer.start()

    def __enter__(self) -> "LoadProcess":
        return self

    def __exit__(self, *details: object) -> None:
        self.timer.cancel()
        stop(self.process)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()

    def pipe(self, pipe: IO[bytes] | None) -> IO[bytes]:
        """Return a pipe of the process, which is never None here."""
        assert pipe
        return pipe

    def read(self) -> Result:
        """Return the next report of the load; raise LoadFailed if the load ends instead."""
        line = self.pipe(self.process.stdout).readline()
        if line:
            result: Result = json.loads(line)
            return result
        said = self.pipe(self.process.stderr).read().decode(errors="replace").strip()
        raise LoadFailed(said.splitlines()[-1] if said else "the load took too long")

    def go_on(self) -> None:
        """Let the load go on."""
        stdin = self.pipe(self.process.stdin)
        stdin.write(b"\n")
        stdin.flush()


def measure(python: Path, part: Part, job: Result, postgres: int | None = None) -> Result:
    """Do one job with a server; put every failure into the `faults` of the result.

    With `postgres`, the process id of a PostgreSQL, the result has PostgreSQL's processor time for
    each thing that was counted, in microseconds.
    """
    before = family_seconds(postgres) if postgres else 0.0
    try:
        with LoadProcess(python, job | address(part)) as load:
            result = load.read()
            if job["measure"] == "idle":
                base = proportional_memory(part.pid)
                load.go_on()
                result = load.read()
                grown = proportional_memory(part.pid) - base
                result |= {"base": base, "memory": grown / job["sockets"]}
                load.go_on()
            load.process.wait(GIVE_UP)
    except (LoadFailed, subprocess.TimeoutExpired) as error:
        result = {"faults": [str(error)]}
    if not part.running:
        result["faults"].append("the server has ended")
    if postgres and result.get("count"):
        used = family_seconds(postgres) - before
        result["postgres"] = used / result["count"] * 1e6
    return result


def common(yard: Yard, contender: Contender, plan: Plan) -> Result:
    """Return the values that all jobs with a contender have in common."""
    return {
        "cookies": yard.cookies,
        "greets": contender.greets,
        "history": 0,
        "patience": plan.patience,
        "room_order": contender.room_order,
    }


def run_once(
    yard: Yard, contender: Contender, plan: Plan, run: int, doing: Callable[[str], None]
) -> dict[str, Result]:
    """Measure one contender in one run; return the results by the names of the measures."""
    results = {}
    postgres = yard.parts["postgres"].pid if contender.stores else None
    part = yard.serve(contender)
    try:
        for name, job in jobs(contender, plan):
            doing(name)
            # Use a new room, where nobody has been in this database or this process.
            room = {"room": f"{name}-{contender.name}-{run}"}
            whole = common(yard, contender, plan) | room | job
            results[name] = measure(yard.python, part, whole, postgres)
            if not part.running:
                break
    finally:
        part.stop()
    return results


def measure_crowd(yard: Yard, contender: Contender, plan: Plan) -> Result:
    """Measure whether one process keeps thousands of silent people, then reaches them all."""
    part = yard.serve(contender)
    try:
        job = {"measure": "crowd", "sockets": plan.crowd, "seconds": plan.crowd_seconds}
        job |= {"room": "crowd"} | common(yard, contender, plan)
        result = measure(yard.python, part, job)
        result["sockets"] = plan.crowd
        return result
    finally:
        part.stop()


def measure_comeback(yard: Yard, contender: Contender, plan: Plan) -> Result:
    """Measure how long thousands of pages need to come back to a restarted worker."""
    part = yard.serve(contender)
    try:
        job = {"measure": "comeback", "sockets": plan.crowd, "room": "comeback"}
        return measure(yard.python, part, common(yard, contender, plan) | job)
    finally:
        part.stop()


def sample_once(yard: Yard, contender: Contender, plan: Plan, name: str) -> list[tuple[str, float]]:
    """Do one measure again; return the shares of the worker's processor time, by package."""
    file = yard.folder / "samples.json"
    command = ("-m", "course.bench.inside.sampled", str(file), *contender.command)
    part = yard.serve(replace(contender, name="sampled", command=command))
    part.signal(signal.SIGUSR1)  # discard the imports, which take longer than the measure
    try:
        job = dict(jobs(contender, plan))[name]
        whole = common(yard, contender, plan) | {"room": f"sampled-{name}"} | job
        measure(yard.python, part, whole)
    finally:
        part.stop()
    counts = json.loads(file.read_text())
    total = sum(count for _, count in counts)
    return [(package, count / total) for package, count in counts]
