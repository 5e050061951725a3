"""`make bench`: measure all contenders in turn, several times, then print a table."""

import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

from course.bench import tables
from course.bench.tables import TITLES, Result
from course.core import environment
from course.core.ports import parse_number
from course.core.steps import ROOT
from course.core.terminal import UserError, say
from course.stack.command import find_code
from course.stack.stack import APPLICATION, WORKERS, Stack

MEASURED_PARTS = range(7, 14)  # part 7 completes the service; the later parts are for a crowd
FILES = 5200  # open files of the load, and of a server
Jobs = dict[str, Result]  # the jobs of a run, or their results


class Contender(NamedTuple):
    """A server: its command line for Python, what it can do, and how it runs.

    The limit has no database. Only step 5 sends `caught_up` to a client that has joined. In the
    tutorial pattern, one message can overtake another between storing and sending, so a room's
    messages need not come in the order of their numbers.
    """

    command: list[str]
    kind: Literal["limit", "tutorial", "step"] = "step"
    layer: str = "default"  # of the tutorial pattern
    code: Path | None = None  # a folder of step 5; None is step 5 itself


TUTORIAL = "course.bench.inside.tutorial:application"  # in place of step 5's
CONTENDERS = {
    "raw": Contender(["-m", "course.bench.raw", "{port}"], "limit"),
    "tutorial": Contender(WORKERS["daphne"], "tutorial", "core"),
    "pubsub": Contender(WORKERS["uvicorn"], "tutorial"),
    "daphne": Contender(WORKERS["daphne"]),
    "uvicorn": Contender(WORKERS["uvicorn"]),
}

# `idle` comes first: it needs a process that has done nothing yet. A consumer handles one message
# after the other, so each sender has one message on the way. The limit does not store.
JOBS: Jobs = {
    "idle": {"sockets": 1000, "rooms": 20, "warm_up": 50},
    "joins": {"sockets": 300, "history": 50, "stores": True},
    "deliveries_100": {"sockets": 100, "senders": 20, "seconds": 2},
    "deliveries_500": {"sockets": 500, "senders": 20, "seconds": 2},
    "latency": {"sockets": 100, "senders": 20, "seconds": 3, "rate": 20},
    "stored_1": {"sockets": 20, "senders": 20, "seconds": 2, "stores": True},
    "stored_20": {"sockets": 40, "senders": 40, "rooms": 20, "seconds": 2, "stores": True},
}
# One page sends one message, after a silence in which servers send pings: after 20 seconds.
CROWD = {"sockets": 5000, "senders": 1, "seconds": 0, "silence": 26, "query": "?after=0"}


def describe() -> Result:
    """Return what the figures depend on most: the machine, and the versions of the packages."""
    model = re.search(r"(?m)^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text())
    locked = re.findall(r"(?m)^(\S+)==(\S+)", (ROOT / environment.LOCK).read_text("utf-8"))
    cpus = len(os.sched_getaffinity(0))
    return {
        "machine": {"cpus": cpus, "model": model[1] if model else platform.machine()},
        "versions": {"python": platform.python_version()} | dict(locked),
    }


def do(python: Path, job: Result) -> Result:
    """Do one job with a server; put every failure into the `faults` of the result."""
    command = [str(python), "-m", "course.bench.load", json.dumps(job)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True)
    if done.returncode:
        said = done.stderr.decode(errors="replace").splitlines()
        return {"faults": said[-1:] or [f"exit code {done.returncode}"]}
    result: Result = json.loads(done.stdout)
    return result


def measure(python: Path, contender: Contender, jobs: Jobs) -> Jobs:
    """Do jobs with a contender, as the worker of a new stack; return their results, by name."""
    variables = {"DJANGO_SETTINGS_MODULE": "config.settings", "BENCH_LAYER": contender.layer}
    # The limit for people would slow the load down. The contenders import the course as well.
    variables |= {"CHAT_MESSAGE_RATE": "1000000", "CHAT_MESSAGE_BURST": "1000000"}
    variables["PYTHONPATH"] = str(ROOT)
    application = TUTORIAL if contender.kind == "tutorial" else APPLICATION
    words = [application if word == APPLICATION else word for word in contender.command]
    with Stack(workers=1, variables=variables, python=python, code=contender.code) as stack:

        def do_inside(chore: str) -> Any:
            command = [str(python), "-m", "course.bench.inside.chores", chore]
            env = stack.environment
            return json.loads(subprocess.check_output(command, cwd=stack.site, env=env))

        port = stack.parts["worker1"].port
        stack.parts["worker1"].stop()
        cookies = do_inside("accounts")
        worker = stack.add_worker("worker1", words, port, stack.environment)
        worker.start()
        common = {"kind": contender.kind, "cookies": cookies, "port": port, "pid": worker.pid}
        common["postgres"] = stack.parts["postgres"].pid
        results = {
            name: do(python, {"room": name} | common | job)
            for name, job in jobs.items()
            if contender.kind != "limit" or not job.get("stores")
        }
        if "crowd" in jobs:
            results["parts"] = do_inside("parts")
        return results


def collect(
    python: Path, runs: int, contenders: dict[str, Contender], titles: dict[str, str], jobs: Jobs
) -> Result:
    """Measure everything, and report the progress; return the raw results."""
    results: Result = describe() | {"runs": [], "faults": []}

    def add(name: str, jobs: Jobs) -> Jobs:
        found = measure(python, contenders[name], jobs)
        for job, result in found.items():
            faults = result.pop("faults", [])
            results["faults"] += [f"{titles[name]}, {job}: {fault}" for fault in faults]
        return found

    for number in range(1, runs + 1):
        results["runs"].append({})
        for name, title in titles.items():
            say(f"{time.strftime('%X')}  run {number} of {runs}: {title} …")
            results["runs"][-1][name] = add(name, jobs)
    if contenders is CONTENDERS:
        say(f"{time.strftime('%X')}  a crowd …")
        results |= add("uvicorn", {"crowd": CROWD})
    return results


def bench(runs_text: str, parts: bool = False, root: Path = ROOT) -> int:
    """Measure, print a table, and keep the raw numbers; return the exit code.

    With `parts`, compare step 5 as it is after each part for a crowd. The exit code is 1 if a
    contender lost a message, or delivered one twice or out of order.
    """
    runs = parse_number("RUNS", runs_text, 1, 25)
    if sys.platform != "linux":
        raise UserError("The measurements need Linux: they read /proc.")
    import resource  # Windows does not have this module

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < FILES:
        raise UserError(f"This needs {FILES} open files: raise the limit (ulimit -Hn {FILES}).")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), hard))
    python = environment.ensure_everything(root)
    contenders, titles, jobs, file = CONTENDERS, TITLES, JOBS, tables.RESULTS
    if parts:
        titles = {str(number): f"part 5.{number} on uvicorn" for number in MEASURED_PARTS}
        contenders = {
            number: Contender(WORKERS["uvicorn"], code=find_code(number, root)) for number in titles
        }
        jobs = {name: job for name, job in JOBS.items() if name not in ("joins", "latency")}
        file = file.with_name("parts.json")
    minutes = runs * len(contenders) * 0.6 + 1
    say(f"{len(contenders)} servers in turn, {runs} times over: about {minutes:.0f} minutes.\n")
    results = collect(python, runs, contenders, titles, jobs)
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    say("\n".join(["", *tables.report(results, titles), "", f"All numbers: {file.as_posix()}"]))
    return 1 if results["faults"] else 0
