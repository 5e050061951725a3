"""`make test` and `make test-all`: run tests, side by side, and say what came out."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from course import environment, memory, parts
from course.manifest import INTERIM
from course.processes import clean_environment, start_job, stop
from course.results import (
    NO_HYPOTHESIS,
    PYTEST_OPTIONS,
    Part,
    Test,
    read_junit,
    report,
    without_skips,
)
from course.stack import STEP
from course.steps import ROOT, Step, all_steps, find_step
from course.terminal import LiveLine, UserError, say

TIME_LIMIT = 900.0  # seconds a job may take, a first installation included
MEMORY = Path("/dev/shm")  # where Linux keeps files in memory
ROOM = 4 * 2**30  # bytes: several times what a run writes
# The tests of the tools that need next to nothing of the later steps: no change there is theirs.
TOOLS = ["cli", "environment", "memory", "processes", "redgreen", "results", "run"]
TOOLS += ["standalone", "terminal", "testing"]
# The tests of each job. A folder goes without the files that other jobs name. The tests of the
# production stack mostly wait, so they run side by side.
PYTEST_JOBS = {
    "tools": [f"course/tests/test_{name}.py" for name in TOOLS],
    "course": ["course/tests"],
    "browser": ["course/browser"],
    "stack": [f"course/production/test_{name}.py" for name in ("stack", "command", "deploy")],
    "abuse": ["course/production/test_abuse.py"],
    "workers": [f"course/production/test_{name}.py" for name in ("clients", "workers")],
    "services": ["course/production/test_services.py"],
}


@dataclass
class Job:
    """A command that leaves JUnit files in its folder of results.

    `needs` are the files and folders that it depends on beside the tools, relative to its `cwd`.
    """

    name: str
    command: list[str]
    cwd: Path
    results: Path
    log: Path
    needs: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=clean_environment)


@dataclass
class Running:
    """A job under way: its process and when it started (monotonic seconds)."""

    job: Job
    process: subprocess.Popen[bytes]
    started: float

    @property
    def seconds(self) -> float:
        """How long the job has been running."""
        return time.monotonic() - self.started


@contextmanager
def files_in_memory() -> Iterator[dict[str, str]]:
    """Yield the variables that keep temporary files in memory; they are gone at the end.

    Writing so many small files to a disk is as much work as many tests. Yields no variable where
    there is too little room, or where no program may be run from there.
    """
    try:
        state = os.statvfs(MEMORY)
        roomy = state.f_bavail * state.f_frsize > ROOM and not state.f_flag & os.ST_NOEXEC
    except (AttributeError, OSError):  # Windows, macOS
        roomy = False
    if not roomy:
        yield {}
        return
    with tempfile.TemporaryDirectory(
        dir=MEMORY, prefix="course-", ignore_cleanup_errors=True
    ) as folder:
        Path(folder).chmod(0o711)  # PostgreSQL works in there as another user
        yield {"TMPDIR": folder}


def run_step_tests(wanted: str, part: str | None = None, root: Path = ROOT) -> int:
    """Run one step's tests in its folder, output shown as it comes; return the exit code.

    With `part`, the number of a part, run those of the mid-point after that part.
    """
    step = find_step(wanted, root)
    midpoint = None if part is None else parts.find_midpoint(step, part, root)
    python = environment.ensure_everything(root)
    if midpoint:
        step = parts.open_midpoint(midpoint, root)
    command = [str(python), "-m", "pytest"]
    process = subprocess.Popen(command, cwd=step.folder, env=clean_environment())
    try:
        return process.wait()
    except KeyboardInterrupt:
        stop(process, patience=5.0)
        raise


def needs_of(name: str, steps: list[Step]) -> list[str]:
    """Return the files and folders that one of `PYTEST_JOBS` depends on, beside the tools."""
    labels = [step.label for step in steps]
    # The tests of real sites share these.
    shared = ["course/browser", "course/production"]
    shared += [f"course/tests/{name}.py" for name in ("conftest", "terminals")]
    match name:
        case "tools":
            names = [f"{label}/manage.py" for label in labels]
            return ["course/tests", "course/bench", "Makefile", *labels[:2], *names]
        case "course":
            return [""]  # everything: it looks at the style of all there is
        case "browser":
            return [*shared, *labels]
    return [*shared, STEP]


def left_to_others(name: str) -> list[str]:
    """Return the files that other jobs take from the folders of this one."""
    folders = tuple(f"{tests}/" for tests in PYTEST_JOBS[name])
    others = [tests for other, listed in PYTEST_JOBS.items() if other != name for tests in listed]
    return [tests for tests in others if tests.startswith(folders)]


def collect_jobs(python: Path, root: Path = ROOT) -> list[Job]:
    """Return the jobs of `make test-all`; `python` is the one of the course's environment."""
    state = root / ".course"
    steps = all_steps(root)
    jobs = list[Job]()

    def add(name: str, command: list[str], needs: list[str]) -> Job:
        log = state / "logs" / f"{name}.log"
        jobs.append(Job(name, command, root, state / "results" / name, log, needs))
        return jobs[-1]

    def add_command(name: str, command: str, step: Step, needs: list[str]) -> None:
        made = add(name, [sys.executable, "-u", "-m", "course", command, step.label], needs)
        made.command += ["--results", str(made.results)]

    for step in steps:
        add_command(step.label, "standalone", step, [step.label])
    if (root / "course" / "steps.toml").is_file():
        for before, step in pairwise(steps):
            name = f"redgreen{step.number:02}"
            needs = [before.label, step.label, f"{INTERIM}/{step.label}"]
            add_command(name, "redgreen", step, needs)
    # The browser's tests run by themselves: Playwright's synchronous API leaves an event
    # loop running, which breaks asynchronous tests that come after it.
    for name, tests in PYTEST_JOBS.items():
        if (root / tests[0]).exists():
            command = [str(python), "-m", "pytest", *tests, *PYTEST_OPTIONS, *NO_HYPOTHESIS]
            command += [f"--ignore={file}" for file in left_to_others(name)]
            made = add(name, command, needs_of(name, steps))
            made.command.append(f"--junitxml={made.results / 'pytest.xml'}")
    return jobs


def judge(job: Job, code: int, seconds: float, broken: str = "") -> Part:
    """Return what a finished job comes to, from its exit code and its JUnit files.

    A job that was `broken` off, left no result, ran no test in one of its files, or ended
    badly without naming a failure counts as a failure, which says so.
    """
    tests: list[Test] = []
    problems = [broken] if broken else []
    files = sorted(job.results.glob("*.xml"))
    for file in files:
        try:
            found = read_junit(file)
        except (OSError, ElementTree.ParseError, ValueError) as error:
            problems.append(f"its results cannot be read: {error}")
            continue
        tests += found
        if not found:
            problems.append("no test was run")
    if not problems and not files:
        problems.append(f"it left no results (exit code {code})")
    if not problems and code != 0 and not any(test.outcome == "failed" for test in tests):
        problems.append(f"it ended with exit code {code}")
    tests += [Test(f"the job {job.name}", "failed", 0.0, problem) for problem in problems]
    return Part(job.name, seconds, tests)


def in_order(jobs: list[Job], times: dict[str, float]) -> list[Job]:
    """Return the jobs, those that took longest last time first, unknown ones before all."""
    return sorted(jobs, key=lambda job: -times.get(job.name, float("inf")))


def read_times(file: Path) -> dict[str, float]:
    """Return how many seconds each job took last time."""
    try:
        times: dict[str, float] = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return times


def start(job: Job) -> Running:
    """Start a job with an empty folder of results."""
    job.results.mkdir(parents=True, exist_ok=True)
    memory.forget(job.results)
    for old in job.results.glob("*.xml"):
        old.unlink()
    job.log.parent.mkdir(parents=True, exist_ok=True)
    return Running(job, start_job(job.command, job.log, job.cwd, job.env), time.monotonic())


def finish(running: Running, time_limit: float) -> Part | None:
    """Return what a job came to once it has ended or its time is up, else None."""
    code = running.process.poll()
    if code is None and running.seconds < time_limit:
        return None
    broken = ""
    if code is None:
        broken = f"it was stopped after {time_limit:.0f} s"
        code = -1
    # Also after a normal end: nothing a job started may outlive it.
    stop(running.process)
    return judge(running.job, code, running.seconds, broken)


def run_jobs(
    jobs: list[Job],
    at_once: int,
    time_limit: float = TIME_LIMIT,
    ended: Callable[[Job, Part], None] = lambda job, part: None,
) -> list[Part]:
    """Run the jobs, `at_once` side by side, showing progress; return what each came to.

    A job over `time_limit` seconds is stopped and counts as a failure. `ended` is called with
    each job that has ended, and what it came to.
    """
    waiting, running = list(jobs), list[Running]()
    parts: dict[str, Part] = {}
    line = LiveLine()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(start(waiting.pop(0)))
                if not line.live:
                    say(f"{running[-1].job.name}: started")
            for entry in list(running):
                part = finish(entry, time_limit)
                if part:
                    running.remove(entry)
                    parts[part.name] = part
                    ended(entry.job, part)
                    line.clear()
                    failed = part.count("failed")
                    verdict = f"{failed} failed" if failed else f"{part.count('passed')} passed"
                    say(f"{part.name}: {verdict} ({part.seconds:.1f} s)")
            shown = ", ".join(f"{entry.job.name} {entry.seconds:.0f} s" for entry in running)
            line.show(f"{len(waiting)} waiting, running: {shown}")
            time.sleep(0.1)
    finally:
        line.clear()
        stop(*(entry.process for entry in running), grace=10.0)
    return [parts[job.name] for job in jobs]


def made_of(jobs: list[Job], processor: float, seconds: float) -> str:
    """Return the line that says where the time went; `processor` in seconds of its work."""
    made = r"(?m)^\$ .* -m venv "
    cold = [job.name for job in jobs if re.search(made, job.log.read_text("utf-8", "replace"))]
    cores = os.cpu_count() or 1
    warm = f"Environments made for {', '.join(cold)}." if cold else "All environments were there."
    return f"{processor:.0f} s of work in {seconds:.0f} s on {cores} processors. {warm}"


def fingerprints(jobs: list[Job], machine: list[str], root: Path) -> dict[str, str]:
    """Return for each job, by its name, a hash of all that it depends on, as it is now."""
    files = memory.read_files(root)
    return {job.name: memory.fingerprint(job.needs, files, machine) for job in jobs}


def run_and_remember(jobs: list[Job], python: Path, root: Path) -> dict[str, Part]:
    """Return what the jobs come to, by their names; what is known already is not run again.

    Under CI, everything is run.
    """
    machine = memory.read_machine(python)
    before = fingerprints(jobs, machine, root)
    done = dict[str, Part]()
    if os.environ.get("CI") != "true":
        known = [memory.recall(job.name, job.results, before[job.name]) for job in jobs]
        done = {part.name: part for part in known if part}
    times_file = root / ".course" / "times.json"
    times = read_times(times_file)

    def ended(job: Job, part: Part) -> None:
        """Note at once what is known of a job: the others may be broken off."""
        done[job.name] = part
        times[job.name] = round(part.seconds, 1)
        times_file.write_text(json.dumps(times, indent=2) + "\n", "utf-8")
        # Nothing is known of files that somebody changed while the tests ran.
        if fingerprints([job], machine, root)[job.name] == before[job.name]:
            memory.remember(part, job.results, before[job.name])

    waiting = in_order([job for job in jobs if job.name not in done], times)
    with files_in_memory() as variables:
        for job in waiting:
            job.env |= variables
        run_jobs(waiting, (os.cpu_count() or 1) + 2, ended=ended)
    return done


def run_all_tests(root: Path = ROOT) -> int:
    """Run every test of the course; return 0 when all passed (with CI=true: none skipped)."""
    if not all_steps(root):
        raise UserError("There are no steps here to test.")
    with environment.alone(root / ".course" / "test-all.lock", "running all tests"):
        return test_everything(root)


def test_everything(root: Path) -> int:
    """Do what `run_all_tests` does, while nobody else does it in this folder."""
    started, before = time.monotonic(), os.times()
    python = environment.ensure_everything(root)
    jobs = collect_jobs(python, root)
    done = run_and_remember(jobs, python, root)
    parts = [done[job.name] for job in jobs]
    if os.environ.get("CI") == "true":
        parts = without_skips(parts)
    for job, part in zip(jobs, parts, strict=True):
        if part.count("failed"):
            say(f"\n===== {job.name}: {job.log.relative_to(root)} =====")
            say(job.log.read_text("utf-8", errors="replace").rstrip())
    say()
    seconds, after = time.monotonic() - started, os.times()
    processor = after.children_user + after.children_system
    processor -= before.children_user + before.children_system
    run = [job for job in jobs if done[job.name].seconds]
    say(report(parts, seconds, made_of(run, processor, seconds) if run else ""))
    return 1 if any(part.count("failed") for part in parts) else 0
