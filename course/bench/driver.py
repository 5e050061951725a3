"""`make bench`: all contenders in turn, several times over, and what came of it."""

import json
import os
import platform
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from course import environment
from course.bench import figures
from course.bench.contenders import CONTENDERS, Yard
from course.bench.measures import Plan, measure_crowd, run_once
from course.stack import find_programs
from course.stack.command import parse_count
from course.steps import ROOT
from course.terminal import LiveLine, UserError, say

RESULTS = Path(".course") / "bench" / "results.json"
QUIET = 0.25  # load for each core, above which a machine has other things to do
PACKAGES = (
    *("channels", "channels_redis", "daphne", "django", "msgpack", "psycopg", "redis"),
    *("uvicorn", "uvloop", "websockets"),
)
VERSIONS = f"""\
import importlib.metadata, json, platform
print(json.dumps({{"python": platform.python_version()}} | {{
    name: importlib.metadata.version(name) for name in {PACKAGES}
}}))
"""


def allow_files(count: int) -> None:
    """Let this process and its children have that many files open; UserError if they may not."""
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(hard, count)))
    except (ValueError, OSError):
        raise UserError(
            f"The measurements need {count:,} open files, and this machine allows {hard:,}: "
            f"raise the limit (ulimit -Hn {count})."
        ) from None


def versions(python: Path) -> dict[str, str]:
    """Return the versions of Python, of the packages and of the programs."""
    output = subprocess.run([python, "-c", VERSIONS], stdout=subprocess.PIPE, check=True).stdout
    found: dict[str, str] = json.loads(output)
    for name in ("redis", "postgres"):
        command = [str(find_programs(python)[name]), "--version"]
        said = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        found[name + "-server"] = said.strip()
    return found


def machine() -> dict[str, Any]:
    """Return what the figures depend on most."""
    models = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],  # of others, before anything is measured
        "model": models[1] if models else platform.machine(),
        "system": platform.platform(),
    }


def collect(python: Path, runs: int, plan: Plan) -> dict[str, Any]:
    """Measure everything, saying what goes on; return the raw results."""
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
    yard = Yard(python)
    with yard:
        doing("Making accounts")
        yard.fill()
        done("PostgreSQL and Redis are ready")
        results["parts"] = json.loads(yard.inside("parts"))
        for number in range(1, runs + 1):
            run: figures.Run = {}
            results["runs"].append(run)
            for each in CONTENDERS:
                title = f"run {number} of {runs}: {each.title}"
                run[each.name] = run_once(yard, each, plan, number, partial(doing, title))
                done(title)
        doing(f"a crowd of {plan.crowd:,}")
        results["crowd"] = measure_crowd(yard, CONTENDERS[-1], plan)
        done(f"a crowd of {plan.crowd:,}")
    results["seconds"] = round(time.monotonic() - began)
    return results


def bench(runs_text: str, root: Path = ROOT) -> int:
    """Measure, print a table, and keep the raw numbers; return the exit code.

    It is 1 where a contender lost a message, delivered one twice or out of order.
    """
    runs = parse_count("RUNS", runs_text, 25)
    if sys.platform != "linux":
        raise UserError("The measurements need Linux: they read /proc.")
    python = environment.ensure_everything(root)
    plan = Plan()
    allow_files(plan.files)
    minutes = runs * 1.6 + 0.9
    say(f"Four servers in turn, {runs} times over: about {minutes:.0f} minutes.\n")
    if os.getloadavg()[0] > QUIET * (os.cpu_count() or 1):
        say("This machine is busy with something else: the rates will be too low.\n")
    results = collect(python, runs, plan)
    file = root / RESULTS
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    say()
    for text in figures.report(results):
        say(text)
    say(f"\nAll numbers of all runs: {RESULTS.as_posix()}")
    return 1 if figures.faults(results) else 0
