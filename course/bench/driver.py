"""`make bench`: measure all contenders in turn, several times, then print a table."""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from course.bench import figures
from course.bench.contenders import CONTENDERS, Contender, Yard, step
from course.bench.measures import Plan, jobs, run_jobs, sample
from course.core import environment
from course.core.parts import find_midpoint, lay_out
from course.core.steps import ROOT, find_step
from course.core.terminal import LiveLine, UserError, say
from course.stack import STEP, find_programs
from course.stack.command import parse_count

RESULTS = Path(".course") / "bench" / "results.json"
PARTS = RESULTS.with_name("parts.json")
MEASURED_PARTS = range(7, 14)  # part 7 completes the service; the later parts are for a crowd
QUIET = 0.25  # load average for each core; above it, the machine is busy with other work
PACKAGES = (
    *("channels", "channels_redis", "daphne", "django", "msgpack", "psycopg", "redis"),
    *("uvicorn", "uvloop", "websockets"),
)
VERSIONS = """\
import importlib.metadata, json, platform, sys
found = {name: importlib.metadata.version(name) for name in sys.argv[1:]}
print(json.dumps({"python": platform.python_version()} | found))
"""


def allow_files(count: int) -> None:
    """Let this process and its children open that many files; raise UserError if forbidden."""
    import resource  # Windows does not have this module

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), max(hard, count)))
    except (ValueError, OSError):
        raise UserError(
            f"The measurements need {count:,} open files, and this machine allows {hard:,}: "
            f"raise the limit (ulimit -Hn {count})."
        ) from None


def versions(python: Path) -> dict[str, str]:
    """Return the versions of Python, of the packages and of the programs."""
    output = subprocess.check_output([python, "-c", VERSIONS, *PACKAGES])
    found: dict[str, str] = json.loads(output)
    for name in ("redis", "postgres"):
        command = [str(find_programs(python)[name]), "--version"]
        found[name + "-server"] = subprocess.check_output(command, text=True).strip()
    return found


def machine() -> dict[str, Any]:
    """Return the properties of the machine that the figures depend on most."""
    models = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],  # of other programs, before the first measure
        "model": models[1] if models else platform.machine(),
        "system": platform.platform(),
    }


def collect(python: Path, runs: int, plan: Plan, contenders: Sequence[Contender]) -> dict[str, Any]:
    """Measure everything, and report the progress; return the raw results."""
    line = LiveLine()
    began = time.monotonic()

    def doing(title: str, what: str = "") -> None:
        line.show(f"{int(time.monotonic() - began):>4} s  {title} {what} …")

    def done(text: str) -> None:
        line.clear()
        say(f"{int(time.monotonic() - began):>4} s  {text}")

    results: dict[str, Any] = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(python),
        "plan": vars(plan),
        "runs": [],
    }
    with ExitStack() as opened:
        yards = {}
        # Two parts may differ in their tables, so each version of the code has its own database.
        for code in dict.fromkeys(each.code for each in contenders):
            doing("Making accounts")
            yards[code] = opened.enter_context(Yard(python, code))
            yards[code].fill()
        done("PostgreSQL and Redis are ready")
        for number in range(1, runs + 1):
            run: figures.Run = {}
            results["runs"].append(run)
            for each in contenders:
                title = f"run {number} of {runs}: {', '.join(each.title)}"
                wanted = jobs(each, plan)
                run[each.name] = run_jobs(
                    yards[each.code], each, plan, wanted, number, partial(doing, title)
                )
                done(title)
        if plan.crowd:
            last = contenders[-1]
            yard = yards[last.code]
            everybody = {"sockets": plan.crowd}
            job = everybody | {"seconds": plan.crowd_seconds}
            doing(f"a crowd of {plan.crowd:,}")
            results["crowd"] = run_jobs(yard, last, plan, {"crowd": job})["crowd"] | everybody
            done(f"a crowd of {plan.crowd:,}")
            doing(f"{plan.crowd:,} come back")
            results |= run_jobs(yard, last, plan, {"comeback": everybody})
            done(f"{plan.crowd:,} came back")
            results["parts"] = json.loads(yard.inside("parts"))
            results["samples"] = {
                goal.measure: sample(yard, last, plan, goal.measure)
                for goal in figures.missed(results["runs"])
                if goal.key == "rate"
            }
    results["seconds"] = round(time.monotonic() - began)
    return results


def bench(
    runs_text: str,
    contenders: Sequence[Contender] = CONTENDERS,
    plan: Plan | None = None,
    root: Path = ROOT,
) -> int:
    """Measure, print a table, and keep the raw numbers; return the exit code.

    The exit code is 1 if a contender lost a message, or delivered one twice or out of order.
    """
    runs = parse_count("RUNS", runs_text, 25)
    if sys.platform != "linux":
        raise UserError("The measurements need Linux: they read /proc.")
    python = environment.ensure_everything(root)
    plan = plan or Plan()
    allow_files(max(plan.crowd, plan.idle + plan.warm_up, *plan.rooms) + 200)
    minutes = runs * len(contenders) * 0.4 + 1
    say(f"{len(contenders)} servers in turn, {runs} times over: about {minutes:.0f} minutes.\n")
    if os.getloadavg()[0] > QUIET * (os.cpu_count() or 1):
        say("This machine is busy with something else: the rates will be too low.\n")
    results = collect(python, runs, plan, contenders)
    file = root / (RESULTS if contenders is CONTENDERS else PARTS)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    say()
    for text in figures.report(results, contenders):
        say(text)
    say(f"\nAll numbers of all runs: {file.relative_to(root).as_posix()}")
    return 1 if figures.faults(results) else 0


def bench_parts(runs_text: str, root: Path = ROOT) -> int:
    """Measure what each part for a crowd improves: compare the mid-points after the parts."""
    service = find_step(STEP, root)
    contenders = []
    with tempfile.TemporaryDirectory() as place:
        for number in MEASURED_PARTS:
            folder = Path(place, str(number))
            folder.mkdir()
            lay_out(find_midpoint(service, str(number), root), folder)
            name = f"{service.number}.{number}"
            contenders.append(step(name, f"part {name}", "uvicorn", folder))
        return bench(runs_text, contenders, Plan(joiners=0, latency_seconds=0, crowd=0), root)
