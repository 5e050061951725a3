"""`make test` and `make test-all`: run tests in parallel and print the results."""

import os
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from course.core import environment, parts
from course.core.processes import clean_environment, start_job, stop
from course.core.steps import ROOT, all_steps, find_step
from course.core.terminal import LiveLine, UserError, say
from course.learn.jobs import KINDS, Job, collect_jobs, longest_first
from course.learn.results import (
    Part,
    Test,
    read_junit,
    report,
    without_skips,
)

TIME_LIMIT = 900.0  # seconds for one job, with its first installation
MEMORY = Path("/dev/shm")  # Linux keeps these files in memory
ROOM = 4 * 2**30  # bytes, several times the size of a run's files


@dataclass
class Running:
    """A running job: its process and its start (monotonic seconds)."""

    job: Job
    process: subprocess.Popen[bytes]
    started: float

    @property
    def seconds(self) -> float:
        """The seconds since the start of the job."""
        return time.monotonic() - self.started


@contextmanager
def files_in_memory() -> Iterator[dict[str, str]]:
    """Yield variables that put temporary files in memory; delete these files at the end.

    Writing many small files to a disk is slow. If memory has too little room, or allows no
    programs, yield no variables.
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
        Path(folder).chmod(0o711)  # PostgreSQL runs as another user, in this folder
        yield {"TMPDIR": folder}


def run_step_tests(wanted: str, part: str | None = None, root: Path = ROOT) -> int:
    """Run the tests of the step `wanted` in its folder; return the exit code.

    If `part` is the number of a part, run the tests of the mid-point after that part. Raises
    UserError for a wrong step or part.
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


def judge(job: Job, code: int, seconds: float, broken: str = "") -> Part:
    """Return the result of a job that has ended, from its exit code and its JUnit files.

    `broken` says why the job was stopped, if so. These are failures too: no JUnit file, a JUnit
    file without tests, and a bad exit code without a failed test.
    """
    tests: list[Test] = []
    problems = [broken] if broken else []
    files = sorted(job.results.glob("*.xml"))
    for file in files:
        try:
            found = read_junit(file)
        except (OSError, ElementTree.ParseError, ValueError) as error:
            problems.append(f"{file.name} cannot be read: {error}")
            continue
        tests += found
        if not found:
            problems.append("no test was run")
    if not problems and not files:
        problems.append(f"the job left no results (exit code {code})")
    if not problems and code != 0 and not any(test.outcome == "failed" for test in tests):
        problems.append(f"the job ended with exit code {code}")
    tests += [Test(f"the job {job.name}", "failed", 0.0, problem) for problem in problems]
    return Part(job.name, seconds, tests)


def start(job: Job) -> Running:
    """Start a job with an empty folder of results; return the running job."""
    job.results.mkdir(parents=True, exist_ok=True)
    for old in job.results.glob("*.xml"):
        old.unlink()
    job.log.parent.mkdir(parents=True, exist_ok=True)
    return Running(job, start_job(job.command, job.log, job.cwd, job.env), time.monotonic())


def finish(running: Running, time_limit: float) -> Part | None:
    """Return the result of a job that has ended or exceeds the limit, else None."""
    before = processor_seconds()
    code = running.process.poll()
    if code is None and running.seconds < time_limit:
        return None
    broken = ""
    if code is None:
        broken = f"the job was stopped after {time_limit:.0f} s"
        code = -1
    # Also after a normal end, because the job may have left processes behind.
    stop(running.process)
    part = judge(running.job, code, running.seconds, broken)
    # The system adds a process's time, and that of all its children, when we ask how it ended.
    part.work = processor_seconds() - before
    return part


def processor_seconds() -> float:
    """Return the processor time of all processes that this one started, and that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def run_jobs(
    jobs: list[Job],
    at_once: int,
    time_limit: float = TIME_LIMIT,
) -> list[Part]:
    """Run the jobs, `at_once` of them in parallel, and show progress; return their results.

    A job that exceeds `time_limit` seconds is stopped and counts as a failure.
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


def run_all_tests(only: str | None = None, root: Path = ROOT) -> int:
    """Run every test of the course; return 0 if all passed (with CI=true: and none was skipped).

    `only` is one of `KINDS`. Raises UserError for another one.
    """
    if not all_steps(root):
        raise UserError("There are no steps here to test.")
    if only and only not in KINDS:
        raise UserError(f"ONLY must be one of {', '.join(KINDS)}, not {only!r}.")
    with environment.alone(root / ".course" / "test-all.lock", "running all tests"):
        return test_everything(only, root)


def test_everything(only: str | None, root: Path) -> int:
    """Run the tests of all kinds, or of one, and print the report; return the exit code."""
    started, before = time.monotonic(), processor_seconds()
    python = environment.ensure_everything(root)
    jobs = collect_jobs(python, root)
    if only:
        jobs = [job for job in jobs if job.name in KINDS[only]]
    cores = os.cpu_count() or 1
    with files_in_memory() as variables:
        for job in jobs:
            job.env |= variables
        parts = run_jobs(longest_first(jobs), cores + 2)
    parts.sort(key=lambda part: [job.name for job in jobs].index(part.name))
    if os.environ.get("CI") == "true":
        parts = without_skips(parts)
    for job, part in zip(jobs, parts, strict=True):
        if part.count("failed"):
            say(f"\n===== {job.name}: {job.log.relative_to(root)} =====")
            say(job.log.read_text("utf-8", errors="replace").rstrip())
    say()
    seconds, processor = time.monotonic() - started, processor_seconds() - before
    made_of = f"{processor:.0f} s of work in {seconds:.0f} s on {cores} processors."
    say(report(parts, seconds, made_of))
    return 1 if any(part.count("failed") for part in parts) else 0
