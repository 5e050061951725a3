"""`make test` and `make test-all`: run tests in parallel and print the results."""

import os
import shutil
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

from course.core import environment, parts
from course.core.processes import clean_environment, run_to_the_end, start_job, stop
from course.core.steps import ROOT, find_step
from course.core.terminal import LiveLine, UserError, say
from course.learn.jobs import KINDS, Job, collect_jobs
from course.learn.results import Part, Test, read_junit, report

TIME_LIMIT = 900.0  # seconds for one job, with its first installation
MEMORY = Path("/dev/shm")  # Linux keeps these files in memory
ROOM = 4 * 2**30  # bytes, several times the size of a run's files


class Running:
    """A running job: its process and its start (monotonic seconds)."""

    def __init__(self, job: Job) -> None:
        """Start the job with an empty folder of results."""
        shutil.rmtree(job.results, ignore_errors=True)
        job.results.mkdir(parents=True)
        job.log.parent.mkdir(parents=True, exist_ok=True)
        self.job, self.started = job, time.monotonic()
        self.process = start_job(job.command, job.log, job.cwd, job.env)

    @property
    def seconds(self) -> float:
        """The seconds since the start of the job."""
        return time.monotonic() - self.started

    def finish(self, time_limit: float) -> Part | None:
        """Return the result of the job if it has ended or exceeds the limit, else None."""
        code, problem = self.process.poll(), ""
        if code is None:
            if self.seconds < time_limit:
                return None
            code, problem = -1, f"the job was stopped after {time_limit:.0f} s"
        # Also after a normal end, because the job may have left processes behind.
        stop(self.process)
        return judge(self.job, code, self.seconds, problem)


def run_step_tests(wanted: str, part: str | None = None, root: Path = ROOT) -> int:
    """Run the tests of the step `wanted` in its folder; return the exit code.

    If `part` is the number of a part, run the tests of the mid-point after that part. Raises
    UserError for a wrong step or part.
    """
    step = find_step(wanted, root)
    if part is not None:
        step = parts.open_midpoint(parts.find_midpoint(step, part, root), root)
    # A terminal's Ctrl-C reaches pytest too, which then stops the servers of its tests.
    command = [str(environment.ensure_everything(root)), "-m", "pytest"]
    return run_to_the_end(command, step.folder, clean_environment(), patience=5.0)


def strict(test: Test) -> Test:
    """Return the result of a test as CI counts it: with CI=true, a skip is a failure."""
    if test.outcome != "skipped" or os.environ.get("CI") != "true":
        return test
    message = f"skipped, and with CI=true a skip is a failure: {test.message}"
    return replace(test, outcome="failed", message=message)


def judge(job: Job, code: int, seconds: float, problem: str = "") -> Part:
    """Return the result of a job that has ended, from its exit code and its JUnit files.

    `problem` says why the job was stopped, if so. These are failures too: a JUnit file that cannot
    be read or has no tests, no JUnit file, and a bad exit code without a failed test.
    """
    tests: list[Test] = []
    for file in sorted(job.results.glob("*.xml")):
        try:
            found = read_junit(file)
        except (OSError, ElementTree.ParseError, ValueError) as error:
            problem = problem or f"{file.name} cannot be read: {error}"
        else:
            tests += map(strict, found)
            problem = problem or ("" if found else "no test was run")
    has_failed = any(test.outcome == "failed" for test in tests)
    if not problem and not has_failed and (code or not tests):
        problem = f"the job ended with exit code {code}" + ("" if tests else ", without results")
    if problem:
        tests.append(Test(f"the job {job.name}", "failed", 0.0, problem))
    return Part(job.name, seconds, tests)


def run_jobs(jobs: list[Job], at_once: int, time_limit: float = TIME_LIMIT) -> list[Part]:
    """Run the jobs, `at_once` of them in parallel, and show progress; return their results.

    A job that exceeds `time_limit` seconds is stopped and counts as a failure.
    """
    waiting, running = list(jobs), list[Running]()
    parts = list[Part]()
    line = LiveLine()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(Running(waiting.pop(0)))
                if not line.live:
                    say(f"{running[-1].job.name}: started")
            for entry in list(running):
                part = entry.finish(time_limit)
                if part:
                    running.remove(entry)
                    parts.append(part)
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
    return sorted(parts, key=lambda part: part.name)


def has_room(folder: Path) -> bool:
    """Tell whether a folder exists, allows programs, and has room for a run's files."""
    if not folder.is_dir():
        return False
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize > ROOM and not state.f_flag & os.ST_NOEXEC


def run_all_tests(only: str | None = None, root: Path = ROOT) -> int:
    """Run every test of the course; return 0 if all passed (with CI=true: and none was skipped).

    `only` is one of `KINDS`. Raises UserError for another one.
    """
    if only and only not in KINDS:
        raise UserError(f"ONLY must be one of {', '.join(KINDS)}, not {only!r}.")
    with environment.alone(root / ".course" / "test-all.lock", "running all tests"):
        started = time.monotonic()
        jobs = collect_jobs(environment.ensure_everything(root), only, root)
        place = MEMORY if has_room(MEMORY) else None
        with tempfile.TemporaryDirectory(
            dir=place, prefix="course-", ignore_cleanup_errors=True
        ) as folder:
            Path(folder).chmod(0o711)  # PostgreSQL runs as another user, in this folder
            for job in jobs if place else ():
                job.env["TMPDIR"] = folder
            parts = run_jobs(jobs, (os.cpu_count() or 1) + 3)
        failed = [part.name for part in parts if part.count("failed")]
        for job in jobs:
            if job.name in failed:
                say(f"\n===== {job.name}: {job.log.relative_to(root)} =====")
                say(job.log.read_text("utf-8", errors="replace").rstrip())
        say(f"\n{report(parts, time.monotonic() - started)}")
    return 1 if failed else 0
