"""`make run`: a server in a real terminal, and an end that leaves no process behind."""

import os
import shutil
import signal
import socket
import sys

import pytest

from course.checks.tools.conftest import is_alive, pids, plant, run_course, sentence
from course.core.ports import answers, free_port
from course.core.processes import descendants, wait_until
from course.core.steps import ROOT, all_steps


@pytest.fixture
def port():
    """A port that is free before and after the test."""
    number = free_port()
    yield number
    assert not answers(number)


def course_run(port: int) -> list[str]:
    """Return the command that runs step 1 without make."""
    return [sys.executable, "-m", "course", "run", "1", f"--port={port}"]


def make_run(port: int) -> list[str]:
    """Return the command that runs step 1 as a learner does."""
    return ["make", "run", "STEP=1", f"PORT={port}", f"PYTHON={sys.executable}"]


def assert_stopped(shown) -> None:
    """Check that a server said good-bye, and that server and child have ended."""
    assert "Stopped." in shown.seen
    assert "Traceback" not in shown.seen
    started = pids(shown.seen)
    assert len(started) == 2
    assert wait_until(lambda: not any(map(is_alive, started)), 30)


def test_ctrl_c_ends_the_server_and_its_child(prepared, terminal, port):
    """A learner presses Ctrl-C in a terminal; without make, the exit code is 0."""
    shown = terminal(course_run(port), prepared)
    shown.read(until="(Ctrl-C stops it)")
    assert f"http://127.0.0.1:{port}/" in shown.seen
    assert answers(port)
    shown.type("\x03")
    assert shown.wait() == 0
    assert_stopped(shown)


def test_ctrl_c_through_make(prepared, terminal, port):
    """Ctrl-C also stops make."""
    shown = terminal(make_run(port), prepared)
    shown.read(until="(Ctrl-C stops it)")
    shown.type("\x03")
    assert shown.wait() in (0, 2, 130, -signal.SIGINT)
    assert_stopped(shown)


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_course_alone_ends_everything(prepared, terminal, port, stop_signal):
    """An editor's stop button and `kill` reach only one process, which ends the others."""
    shown = terminal(course_run(port), prepared)
    shown.read(until="(Ctrl-C stops it)")
    os.kill(shown.pid, stop_signal)
    assert shown.wait() == 0
    assert_stopped(shown)


def test_the_server_can_ask_the_learner(prepared, terminal, port):
    """Standard input reaches the step, so `breakpoint()` works."""
    shown = terminal(course_run(port), prepared, FAKE_ASK="1")
    shown.read(until="(Ctrl-C stops it)")
    shown.type("where am I\n")
    shown.read(until="heard where am I")
    shown.type("\x03")
    assert shown.wait() == 0


@pytest.mark.parametrize("code", ["0", "3"])
def test_a_server_that_ends_by_itself_is_a_failure(prepared, port, code):
    """The exit code is not 0, and a sentence gives the reason."""
    ended = run_course("run", "1", f"--port={port}", root=prepared, FAKE_CODE=code)
    assert ended.returncode == 2
    assert f"ended by itself (exit code {code})" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_in_use_is_refused_before_anything_is_done(fresh):
    """One sentence names another port, and no environment is made."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = sentence(run_course("run", "1", f"--port={port}", root=fresh))
    assert f"Port {port} is already in use" in line
    assert "make run STEP=1 PORT=" in line
    assert not (fresh / ".venv").exists()


def test_the_real_first_step(tmp_path, terminal, port):
    """Step 1 runs with Django's reloader, and Ctrl-C leaves no process behind."""
    step = all_steps()[0]
    plant(tmp_path)
    shutil.rmtree(tmp_path / step.label)
    ignored = shutil.ignore_patterns("*.sqlite3", "__pycache__")
    shutil.copytree(step.folder, tmp_path / step.label, ignore=ignored)
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    shown = terminal(make_run(port), tmp_path)
    shown.read(until="(Ctrl-C stops it)")
    assert "Installing" not in shown.seen
    family = descendants(shown.pid)
    assert len(family) >= 3  # the course, the reloader and the server
    shown.type("\x03")
    shown.wait()
    assert "Stopped." in shown.seen
    assert "Traceback" not in shown.seen
    assert wait_until(lambda: not any(map(is_alive, family)), 30)
