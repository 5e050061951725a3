"""`make test-all`: failures are counted, and no process is left running."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from course.checks.tools.conftest import ROOT, clean, is_alive, pids, run_course
from course.core import environment
from course.core.processes import clean_environment, wait_until
from course.learn import testing
from course.learn.jobs import LONGEST, PYTEST_JOBS, Job, collect_jobs
from course.learn.results import Test, write_junit
from course.learn.testing import judge, run_jobs

EMPTY = "<testsuites><testsuite/></testsuites>"
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


@pytest.fixture
def job(tmp_path):
    """A job whose folder of results exists."""
    made = make_job(tmp_path, "step01_echo", "")
    made.results.mkdir()
    return made


def reasons(part) -> list[str]:
    """Return the messages of the failures."""
    return [test.message for test in part.tests if test.outcome == "failed"]


def test_a_job_with_passed_tests_passes(job):
    """The result is that of the JUnit files."""
    write_junit(Test("test_one", "passed", 0.1), job.results / "pytest.xml")
    assert [test.id for test in judge(job, 0, 1.0).tests] == ["test_one"]


def test_a_job_without_results_fails(job):
    """The message gives the exit code."""
    assert reasons(judge(job, 4, 1.0)) == ["the job ended with exit code 4, without results"]


def test_a_job_that_ran_no_test_fails(job):
    """A passed proof alone is not enough."""
    write_junit(Test("runs on its own", "passed", 0.1), job.results / "proof.xml")
    (job.results / "pytest.xml").write_text(EMPTY)
    assert reasons(judge(job, 0, 1.0)) == ["no test was run"]


def test_a_job_that_ends_badly_after_passing_fails(job):
    """For example, if pytest crashes after the proof has passed, the job fails."""
    write_junit(Test("runs on its own", "passed", 0.1), job.results / "proof.xml")
    assert reasons(judge(job, 3, 1.0)) == ["the job ended with exit code 3"]


def test_results_that_cannot_be_read_are_a_failure(job):
    """A killed process leaves half a file, so the job fails."""
    (job.results / "pytest.xml").write_text("<testsuites><test")
    (reason,) = reasons(judge(job, 0, 1.0))
    assert reason.startswith("pytest.xml cannot be read")


def test_old_results_do_not_count(job):
    """A job without new results does not pass by the tests of its last run."""
    write_junit(Test("test_one", "passed", 0.1), job.results / "pytest.xml")
    (part,) = run_jobs([job], at_once=1)
    assert reasons(part) == ["the job ended with exit code 0, without results"]


def test_jobs_run_side_by_side_and_come_back_in_order(tmp_path):
    """Two jobs that wait for each other both end, and the results are sorted by name."""
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
    parts = run_jobs(jobs, at_once=2, time_limit=20)
    assert [(part.name, part.count("passed")) for part in parts] == [("one", 1), ("two", 1)]


def test_a_job_that_hangs_is_stopped_and_named(tmp_path):
    """After the time limit, job and children are killed, and the job is a failure."""
    job = make_job(tmp_path, "step01_echo", HANGING)
    (part,) = run_jobs([job], at_once=1, time_limit=1.0)
    assert reasons(part) == ["the job was stopped after 1 s"]
    assert part.tests[0].id == "the job step01_echo"
    started = pids(job.log.read_text())
    assert len(started) == 2
    assert wait_until(lambda: not any(map(is_alive, started)), 30)


def test_what_a_job_leaves_running_is_ended(tmp_path):
    """If a job ends and leaves a child, the run kills the child."""
    code = HANGING.replace("sleeper.wait()", "")
    job = make_job(tmp_path, "step01_echo", code)
    run_jobs([job], at_once=1)
    started = pids(job.log.read_text())
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
    running = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=clean(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    log = tmp_path / "hanging.log"
    assert wait_until(lambda: log.exists() and len(pids(log.read_text())) == 2, 20)
    os.kill(running.pid, stop_signal)
    _, errors = running.communicate(timeout=20)
    assert (running.returncode, errors) == (130, b"\nStopped.\n")
    assert wait_until(lambda: not any(map(is_alive, pids(log.read_text()))), 30)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps files in memory like this")
def test_temporary_files_are_kept_in_memory_where_there_is_room(fresh, tmp_path, monkeypatch):
    """The files are deleted at the end. Without free memory, the run uses the disk."""
    seen = []
    monkeypatch.setattr(testing, "run_jobs", lambda jobs, _: seen.append(jobs[0].env) or [])
    monkeypatch.setattr(testing.environment, "ensure_everything", lambda _: Path("python"))
    monkeypatch.setattr(testing, "MEMORY", tmp_path / "memory")
    testing.MEMORY.mkdir()
    for room in (1, 2**62):
        monkeypatch.setattr(testing, "ROOM", room)
        testing.run_all_tests(root=fresh)
    roomy, full = seen
    assert Path(roomy["TMPDIR"]).parent == testing.MEMORY
    assert list(testing.MEMORY.iterdir()) == []
    assert full.get("TMPDIR") == os.environ.get("TMPDIR")


def test_the_longest_jobs_start_first():
    """The list names real jobs, and all other jobs follow."""
    names = [job.name for job in collect_jobs(Path("python"))]
    assert set(names[: len(LONGEST)]) == set(LONGEST)


def test_the_parts_of_the_course_are_found(fresh):
    """There are jobs for each step, for red and green, and for the folders of tests."""
    assert [job.name for job in collect_jobs(Path("python"), fresh)] == [
        "step01_echo",
        "step02_groups",
    ]
    for tests in (tests for job in PYTEST_JOBS.values() for tests in job):
        file = fresh / tests if tests.endswith(".py") else fresh / tests / "test_one.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (fresh / "course" / "steps.toml").touch()
    names = {job.name for job in collect_jobs(Path("python"), fresh)}
    assert names == {"step01_echo", "step02_groups", "redgreen02", *PYTEST_JOBS}


def test_test_all_ends_with_the_table(tested):
    """Every step is proved and tested, and the last line gives the totals."""
    assert tested.shown.returncode == 0, tested.shown.stdout + tested.shown.stderr
    lines = tested.shown.stdout.splitlines()
    assert lines[-1] == "4 passed, 0 failed"
    assert any(line.split()[:4] == ["step02_groups", "2", "0", "0"] for line in lines)
    assert tested.log.startswith("$ ")


def rows(shown: subprocess.CompletedProcess) -> dict[str, list[str]]:
    """Return the rows of the table for the steps: passed, failed, skipped, seconds."""
    lines = [line.split() for line in shown.stdout.splitlines()]
    return {words[0]: words[1:] for words in lines if len(words) == 5 and words[0][:4] == "step"}


def test_two_runs_do_not_share_copies_and_results(ready):
    """The second run waits for the first."""
    with environment.alone(ready / ".course" / "test-all.lock", "in the way"):
        command = [sys.executable, "-m", "course", "test-all"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=ready, env=clean(), stdout=pipe, text=True) as waiting:
            said = waiting.stdout.readline()
            waiting.terminate()
    assert said == "Another command is running all tests: waiting for it.\n"


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_a_skip_counts_as_ci_says(ready, ci, code):
    """A learner's run reports a skip and passes; in CI, a skip is a failure."""
    step = ready / "step02_groups" / "pytest.py"
    before = step.read_text()
    try:
        skipped = 'time="0"><skipped message="why"/></testcase>'
        step.write_text(before.replace('time="0.1"/>', skipped))
        shown = run_course("test-all", root=ready, CI=ci)
    finally:
        step.write_text(before)
    assert shown.returncode == code
    lines = shown.stdout.splitlines()
    assert "  1 in step02_groups: why" in lines
    closing = "3 passed, 0 failed, 1 skipped"
    assert lines[-2:] == ([closing, "With CI=true, a skip is a failure."] if ci else ["", closing])


def test_one_step_is_tested_in_its_place(ready):
    """`make test STEP=1` shows the output of the step's tests, and returns their exit code."""
    assert run_course("test", "1", root=ready).returncode == 0
    step = ready / "step01_echo" / "pytest.py"
    before = step.read_text()
    try:
        step.write_text("print('1 failed', flush=True)\nraise SystemExit(1)\n")
        shown = run_course("test", "1", root=ready)
    finally:
        step.write_text(before)
    assert (shown.returncode, shown.stdout) == (1, "1 failed\n")


def test_jobs_know_nothing_of_the_shell_they_are_started_from(monkeypatch):
    """A variable of another project changes no result."""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "other.settings")
    monkeypatch.setenv("CI", "true")
    env = clean_environment()
    assert "DJANGO_SETTINGS_MODULE" not in env
    assert env["CI"] == "true"
