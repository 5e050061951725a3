"""`make bench`: measure all contenders in turn, several times, then print a table."""

import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from course.bench import tables
from course.bench.contenders import CONTENDERS, Contender, Jobs, Yard
from course.core import environment
from course.core.parts import find_midpoint, lay_out
from course.core.steps import ROOT, find_step
from course.core.terminal import UserError, say
from course.stack import STEP, WORKERS
from course.stack.command import parse_count

PARTS = tables.RESULTS.with_name("parts.json")
MEASURED_PARTS = range(7, 14)  # part 7 completes the service; the later parts are for a crowd
QUIET = 0.25  # load average for each core; above it, the machine is busy with other work

# `idle` comes first: it needs a process that has done nothing yet. A consumer handles one message
# after the other, so each sender has one message on the way.
JOBS: Jobs = {
    "idle": {"sockets": 1000, "rooms": 20, "warm_up": 50},
    "joins": {"sockets": 300, "room": "history", "history": 50, "stores": True},
    "deliveries_100": {"sockets": 100, "senders": 20, "seconds": 2},
    "deliveries_500": {"sockets": 500, "senders": 20, "seconds": 2},
    "latency": {"sockets": 100, "senders": 20, "seconds": 3, "rate": 20},
    "stored_1": {"sockets": 20, "senders": 20, "seconds": 2, "stores": True},
    "stored_20": {"sockets": 40, "senders": 40, "rooms": 20, "seconds": 2, "stores": True},
}
# The crowd is silent for so long because servers send pings after 20 seconds.
CROWD: Jobs = {"crowd": {"sockets": 5000, "seconds": 26, "query": "?after=0"}}


def allow_files(count: int) -> None:
    """Let this process and its children open that many files; raise UserError if forbidden."""
    import resource  # Windows does not have this module

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        reason = f"The measurements need {count} open files, and this machine allows {hard}"
        raise UserError(f"{reason}: raise the limit (ulimit -Hn {count}).")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


def describe(root: Path) -> dict[str, Any]:
    """Return what the figures depend on most: the machine, and the versions of the packages."""
    models = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    model = models[1] if models else platform.machine()
    lock = (root / environment.LOCK).read_text("utf-8")
    versions = {"python": platform.python_version()} | dict(re.findall(r"(?m)^(\S+)==(\S+)", lock))
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": len(os.sched_getaffinity(0)), "model": model},
        "versions": versions,
    }


def collect(
    python: Path, runs: int, contenders: Sequence[Contender], jobs: Jobs, crowd: Jobs
) -> dict[str, Any]:
    """Measure everything, and report the progress; return the raw results."""
    began = time.monotonic()

    def doing(text: str) -> None:
        say(f"{int(time.monotonic() - began):>4} s  {text} …")

    results: dict[str, Any] = describe(ROOT) | {"runs": []}
    with ExitStack() as opened:
        doing("PostgreSQL and Redis")
        # Two parts may differ in their tables, so each version of the code has its own database.
        codes = dict.fromkeys(each.code for each in contenders)
        yards = {code: opened.enter_context(Yard(python, code)) for code in codes}
        for number in range(1, runs + 1):
            results["runs"].append({})
            for each in contenders:
                doing(f"run {number} of {runs}: {each.title}")
                results["runs"][-1][each.name] = yards[each.code].measure(each, jobs, number)
        if crowd:
            doing("a crowd")
            results |= yards[each.code].measure(each, crowd)
            results["parts"] = yards[each.code].inside("parts")
    return results


def bench(
    runs_text: str,
    contenders: Sequence[Contender] = CONTENDERS,
    jobs: Jobs = JOBS,
    crowd: Jobs = CROWD,
    root: Path = ROOT,
) -> int:
    """Measure, print a table, and keep the raw numbers; return the exit code.

    The exit code is 1 if a contender lost a message, or delivered one twice or out of order.
    """
    runs = parse_count("RUNS", runs_text, 25)
    if sys.platform != "linux":
        raise UserError("The measurements need Linux: they read /proc.")
    python = environment.ensure_everything(root)
    allow_files(5200)
    minutes = runs * len(contenders) * 0.4 + 1
    say(f"{len(contenders)} servers in turn, {runs} times over: about {minutes:.0f} minutes.\n")
    if os.getloadavg()[0] > QUIET * (os.cpu_count() or 1):
        say("This machine is busy with something else: the rates will be too low.\n")
    results = collect(python, runs, contenders, jobs, crowd)
    file = root / (tables.RESULTS if contenders is CONTENDERS else PARTS)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    say()
    for text in tables.report(results, contenders):
        say(text)
    say(f"\nAll numbers of all runs: {file.relative_to(root).as_posix()}")
    return 1 if tables.faults(results) else 0


def bench_parts(runs_text: str, root: Path = ROOT) -> int:
    """Measure what each part for a crowd improves: compare the mid-points after the parts."""
    service = find_step(STEP, root)
    contenders = []
    jobs = {name: job for name, job in JOBS.items() if name not in ("joins", "latency")}
    with tempfile.TemporaryDirectory() as place:
        for number in MEASURED_PARTS:
            folder = Path(place, str(number))
            folder.mkdir()
            lay_out(find_midpoint(service, str(number), root), folder)
            title = f"part {service.number}.{number} on uvicorn"
            contenders.append(Contender(f"part{number}", title, WORKERS["uvicorn"], code=folder))
        return bench(runs_text, contenders, jobs, {}, root)
