"""`make test` and `make test-all`: run tests in parallel and print the results."""

import os
import shutil
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

from course.core import environment, parts
from course.core.processes import clean_environment, run_to_the_end, start_job, stop
from course.core.steps import ROOT, find_step
from course.core.terminal import UserError, say
from course.learn.jobs import KINDS, collect_jobs
from course.learn.results import Job, Test, read_junit, report

TIME_LIMIT = 900.0  # seconds for one job, with its first installation


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


def judge(job: Job, code: int | None, problem: str = "") -> None:
    """Give a job that has ended its tests, from its exit code and its JUnit files.

    `problem` says why the job was stopped, if so. These are failures too: a JUnit file that cannot
    be read or has no tests, no JUnit file, and a bad exit code without a failed test.
    """
    for file in sorted(job.results.glob("*.xml")):
        try:
            found = read_junit(file)
        except (OSError, ElementTree.ParseError, ValueError) as error:
            problem = problem or f"{file.name} cannot be read: {error}"
        else:
            job.tests += map(strict, found)
            problem = problem or ("" if found else "no test was run")
    if not problem and not job.count("failed") and (code or not job.tests):
        problem = f"the job ended with exit code {code}"
        problem += "" if job.tests else ", without results"
    if problem:
        job.tests.append(Test(f"the job {job.name}", "failed", 0.0, problem))


def run_jobs(jobs: list[Job], at_once: int, time_limit: float = TIME_LIMIT) -> None:
    """Run the jobs, `at_once` of them in parallel, and show progress.

    A job that exceeds `time_limit` seconds is stopped and counts as a failure.
    """
    waiting = list(jobs)
    running: dict[subprocess.Popen[bytes], tuple[Job, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                # Results of an earlier run do not count.
                shutil.rmtree(job.results, ignore_errors=True)
                job.results.mkdir(parents=True)
                job.log.parent.mkdir(parents=True, exist_ok=True)
                process = start_job(job.command, job.log, job.cwd, clean_environment())
                running[process] = job, time.monotonic()
                say(f"{job.name}: started, {len(waiting)} waiting")
            for process, (job, started) in list(running.items()):
                job.seconds, code = time.monotonic() - started, process.poll()
                if code is None and job.seconds < time_limit:
                    continue
                # Also after a normal end, because the job may have left processes behind.
                stop(process)
                del running[process]
                late = f"the job was stopped after {time_limit:.0f} s" if code is None else ""
                judge(job, code, late)
                failed = job.count("failed")
                verdict = f"{failed} failed" if failed else f"{job.count('passed')} passed"
                say(f"{job.name}: {verdict} ({job.seconds:.1f} s)")
            time.sleep(0.1)
    finally:
        stop(*running, grace=10.0)


def run_all_tests(only: str | None = None, root: Path = ROOT) -> int:
    """Run every test of the course; return 0 if all passed (with CI=true: and none was skipped).

    `only` is one of `KINDS`. Raises UserError for another one.
    """
    if only and only not in KINDS:
        raise UserError(f"ONLY must be one of {', '.join(KINDS)}, not {only!r}.")
    with environment.alone(root / ".course" / "test-all.lock", "running all tests"):
        started = time.monotonic()
        jobs = collect_jobs(environment.ensure_everything(root), only, root)
        run_jobs(jobs, (os.cpu_count() or 1) + 3)
        jobs.sort(key=lambda job: job.name)
        failed = [job for job in jobs if job.count("failed")]
        for job in failed:
            say(f"\n===== {job.name}: {job.log.relative_to(root)} =====")
            say(job.log.read_text("utf-8", errors="replace").rstrip())
        say(f"\n{report(jobs, time.monotonic() - started)}")
    return 1 if failed else 0
