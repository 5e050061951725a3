"""`make test-all`: failures are counted, and no process is left running."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from course.checks.tools.conftest import ROOT, clean, is_alive, pids, plant, run_course
from course.core import environment
from course.core.processes import start_job, stop, wait_until
from course.learn.jobs import CHECKS, FOLDERS, collect_jobs
from course.learn.results import Job
from course.learn.testing import judge, run_jobs

# A job with a child; both would run for a minute.
HANGING = """
import os, subprocess, sys, time
sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(f"pid {os.getpid()}")
print(f"pid {sleeper.pid}", flush=True)
sleeper.wait()
"""


def make_job(root: Path, name: str, code: str) -> Job:
    """Return a job that runs Python code in `root`, with its own folder of results."""
    command = [sys.executable, "-c", code]
    return Job(name, command, root, root / name, root / f"{name}.log")


def reasons(job: Job) -> list[str]:
    """Return the messages of the failures."""
    return [test.message for test in job.tests if test.outcome == "failed"]


PASSED = '<testsuite><testcase name="runs on its own" time="0.1"/></testsuite>'


@pytest.mark.parametrize(
    ("results", "code", "reason"),
    [
        ({"proof": PASSED, "pytest": PASSED}, 0, ""),
        ({}, 4, "the job ended with exit code 4, without results"),
        ({"proof": PASSED, "pytest": "<testsuite/>"}, 0, "no test was run"),
        ({"proof": PASSED}, 3, "the job ended with exit code 3"),
        ({"pytest": "<testsuites><test"}, -9, "pytest.xml cannot be read: "),
    ],
)
def test_a_job_passes_if_its_tests_have_passed(tmp_path, results, code, reason):
    """A job without results, a crash after a passed proof, and half a file are failures."""
    job = make_job(tmp_path, "step01_echo", "")
    job.results.mkdir()
    for name, text in results.items():
        (job.results / f"{name}.xml").write_text(text)
    judge(job, code)
    assert job.count("passed") == list(results.values()).count(PASSED)
    assert [found[: len(reason)] for found in reasons(job)] == ([reason] if reason else [])


def test_old_results_do_not_count(tmp_path):
    """A job without new results does not pass by the tests of its last run."""
    job = make_job(tmp_path, "step01_echo", "")
    job.results.mkdir()
    (job.results / "pytest.xml").write_text(PASSED)
    run_jobs([job], at_once=1)
    assert reasons(job) == ["the job ended with exit code 0, without results"]


def test_jobs_run_side_by_side(tmp_path):
    """Two jobs that wait for each other both end."""
    code = """
import pathlib, sys, time
pathlib.Path("{me}.here").touch()
while not pathlib.Path("{other}.here").exists():
    time.sleep(0.01)
pathlib.Path("{me}/a.xml").write_text("<testsuite><testcase name='met' time='0'/></testsuite>")
"""
    jobs = [
        make_job(tmp_path, me, code.format(me=me, other=other))
        for me, other in (("two", "one"), ("one", "two"))
    ]
    run_jobs(jobs, at_once=2, time_limit=20)
    assert [job.count("passed") for job in jobs] == [1, 1]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (HANGING, ["the job was stopped after 1 s"]),
        (
            HANGING.replace("sleeper.wait()", ""),
            ["the job ended with exit code 0, without results"],
        ),
    ],
    ids=["hangs", "leaves a child"],
)
def test_what_a_job_leaves_running_is_ended(tmp_path, code, expected):
    """After the time limit, job and children are killed. The child of an ended job is killed."""
    job = make_job(tmp_path, "step01_echo", code)
    run_jobs([job], at_once=1, time_limit=1.0)
    assert reasons(job) == expected
    assert job.tests[0].id == "the job step01_echo"
    started = pids(job.log.read_text())
    assert len(started) == 2
    assert wait_until(lambda: not any(map(is_alive, started)), 30)


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_all_jobs_and_their_children(tmp_path, stop_signal):
    """There is no traceback, the exit code is 130, and no process is left."""
    code = f"""
import sys
from pathlib import Path
from course import cli
from course.learn import testing
job = testing.Job("hanging", [sys.executable, "-c", {HANGING!r}], Path({str(tmp_path)!r}),
    Path({str(tmp_path / "results")!r}), Path({str(tmp_path / "hanging.log")!r}))
cli.dispatch = lambda options: testing.run_jobs([job], 1)
sys.exit(cli.main(["test-all"]))
"""
    log, command, pipe = tmp_path / "hanging.log", [sys.executable, "-c", code], subprocess.PIPE
    running = subprocess.Popen(command, cwd=ROOT, env=clean(), stdout=pipe, stderr=pipe)
    assert wait_until(lambda: log.exists() and len(pids(log.read_text())) == 2, 20)
    os.kill(running.pid, stop_signal)
    _, errors = running.communicate(timeout=20)
    assert (running.returncode, errors) == (130, b"\nStopped.\n")
    assert wait_until(lambda: not any(map(is_alive, pids(log.read_text()))), 30)


def test_the_parts_of_the_course_are_found(tmp_path):
    """There are jobs for each step, for red and green, and for the folders of tests."""
    fresh, steps = plant(tmp_path), ["step01_echo", "step02_groups"]
    assert sorted(job.name for job in collect_jobs(Path("python"), root=fresh)) == steps
    for folder in FOLDERS:
        (fresh / CHECKS / folder).mkdir(parents=True)
    (fresh / "course" / "steps.toml").touch()
    names = [job.name for job in collect_jobs(Path("python"), root=fresh)]
    checks = [name for jobs in FOLDERS.values() for name in jobs]
    assert names == [steps[1], "redgreen02", *checks, steps[0]]
    stack = [job.name for job in collect_jobs(Path("python"), "stack", fresh)]
    assert stack == ["stack", "workers", "abuse", "services"]


def test_test_all_ends_with_the_table(tested):
    """Every step is proved and tested, and the last line gives the totals."""
    assert tested.shown.returncode == 0, tested.shown.stdout + tested.shown.stderr
    lines = tested.shown.stdout.splitlines()
    assert lines[-1] == "4 passed, 0 failed"
    rows = [line.split()[:4] for line in lines if line.startswith("step0") and ":" not in line]
    assert rows == [[name, "2", "0", "0"] for name in ("step01_echo", "step02_groups")]


def test_two_runs_do_not_share_copies_and_results(tested):
    """The second run waits for the first."""
    log, command = tested.root / "waiting.log", [sys.executable, "-m", "course", "test-all"]
    with environment.alone(tested.root / ".course" / "test-all.lock", "in the way"):
        waiting = start_job(command, log, tested.root, clean())
        said = "Another command is running all tests: waiting for it.\n"
        assert wait_until(lambda: log.read_text() == said, 20)
        stop(waiting)


@contextmanager
def fake_pytest(step: Path, old: str, new: str) -> Iterator[None]:
    """Replace a text in the fake pytest of a step for a while."""
    file = step / "pytest.py"
    before = file.read_text()
    assert old in before
    file.write_text(before.replace(old, new))
    try:
        yield
    finally:
        file.write_text(before)


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_a_skip_counts_as_ci_says(tested, ci, code):
    """A learner's run reports a skip and passes; in CI, a skip is a failure."""
    skipped = 'time="0"><skipped message="why"/></testcase>'
    with fake_pytest(tested.root / "step02_groups", 'time="0.1"/>', skipped):
        shown = run_course("test-all", root=tested.root, CI=ci)
    assert shown.returncode == code
    closing = "3 passed, 1 failed" if ci else "3 passed, 0 failed, 1 skipped"
    assert shown.stdout.splitlines()[-1] == closing
    assert ("with CI=true a skip is a failure: why" in shown.stdout) is bool(ci)
    assert ("  1 in step02_groups: why\n" in shown.stdout) is not bool(ci)
    assert ("===== step02_groups: " in shown.stdout) is bool(ci)


def test_one_step_is_tested_in_its_place(tested):
    """`make test STEP=1` shows the output of the step's tests, and returns their exit code."""
    assert run_course("test", "1", root=tested.root).returncode == 0
    with fake_pytest(tested.root / "step01_echo", "import sys", "raise SystemExit('1 failed')"):
        shown = run_course("test", "1", root=tested.root)
    assert (shown.returncode, shown.stderr) == (1, "1 failed\n")
