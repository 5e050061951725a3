"""The measures, their order, and the run of one contender through all of them."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from course.bench.contenders import Contender, Yard
from course.core.ports import HOST
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


def jobs(contender: Contender, plan: Plan) -> dict[str, Result]:
    """Return the jobs of a contender, by name; a name begins with that of a measure."""
    talk: Result = {"seconds": plan.seconds, "in_flight": 20}
    found: dict[str, Result] = {}
    # This measure comes first: it needs a process that has done nothing yet.
    found["idle"] = {"sockets": plan.idle, "warm_up": plan.warm_up, "rooms": 20}
    if contender.stores and plan.joiners:
        found["joins"] = {"sockets": plan.joiners, "room": "history", "history": 50}
    for sockets in plan.rooms:
        found[f"deliveries_{sockets}"] = talk | {"sockets": sockets}
    if plan.latency_seconds:
        steady = {"rate": plan.rate, "seconds": plan.latency_seconds}
        found["latency"] = steady | {"sockets": plan.rooms[0]}
    if contender.stores:
        # A consumer handles one message after the other, so a socket has one in flight.
        found["stored_1"] = talk | {"sockets": 20}
        found["stored_20"] = talk | {"sockets": 40, "rooms": 20, "in_flight": 40}
    return found


def measure(python: Path, part: Part, job: Result) -> Result:
    """Do one job with a server; put every failure into the `faults` of the result."""
    job = job | {"host": HOST, "port": part.port, "pid": part.pid}
    command = [str(python), "-m", "course.bench.jobs", json.dumps(job)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=GIVE_UP)
        result: Result = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        result = {"faults": ["the load took too long"]}
    except ValueError:
        said = done.stderr.decode(errors="replace").splitlines()
        result = {"faults": said[-1:] or ["the load was killed"]}
    if not part.running:
        result["faults"].append("the server has ended")
    return result


def run_jobs(
    yard: Yard,
    contender: Contender,
    plan: Plan,
    wanted: dict[str, Result],
    run: int = 0,
    doing: Callable[[str], None] = lambda name: None,
) -> dict[str, Result]:
    """Do the `wanted` jobs with a fresh process of one contender; return the results, by name.

    `run` is the number of the run. `doing` is called with the name of each job.
    """
    common = {
        "cookies": yard.cookies,
        "greets": contender.greets,
        "rooms": 1,
        "history": 0,
        "patience": plan.patience,
        "postgres": yard.parts["postgres"].pid if contender.stores else None,
        "room_order": contender.room_order,
    }
    results = {}
    part = yard.serve(contender)
    try:
        for name, job in wanted.items():
            doing(name)
            # Use a new room, where nobody has been in this database or this process.
            room = {"measure": name.partition("_")[0], "room": f"{name}-{contender.name}-{run}"}
            results[name] = measure(yard.python, part, common | room | job)
            if not part.running:
                break
    finally:
        part.stop()
    return results


def sample(yard: Yard, contender: Contender, plan: Plan, name: str) -> list[tuple[str, float]]:
    """Do one job again; return the shares of the worker's processor time, by package."""
    file = yard.folder / "samples.json"
    command = ("-m", "course.bench.inside.sampled", str(file), *contender.command)
    sampled = replace(contender, name="sampled", command=command)
    run_jobs(yard, sampled, plan, {name: jobs(contender, plan)[name]})
    counts = json.loads(file.read_text())
    total = sum(count for _, count in counts)
    return [(package, count / total) for package, count in counts]
