"""`make run`: a server in a real terminal, and an end that leaves no process behind."""

import os
import shutil
import signal
import socket
import sys
import termios

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


@pytest.fixture
def running(prepared, terminal, port):
    """A function that runs step 1 without make in a terminal, until its address is shown."""

    def start(**variables):
        command = [sys.executable, "-m", "course", "run", "1", f"--port={port}"]
        shown = terminal(command, prepared, **variables)
        shown.read(until="(Ctrl-C stops it)")
        return shown

    return start


@pytest.mark.parametrize("how", ["Ctrl-C", signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_end_leaves_no_process_behind(running, port, how):
    """A learner presses Ctrl-C in a terminal.

    An editor's stop button and `kill` send a signal to one process, which ends the others.
    """
    shown = running()
    assert f"http://127.0.0.1:{port}/" in shown.seen
    assert answers(port)
    if how == "Ctrl-C":
        shown.type("\x03")
    else:
        os.kill(shown.pid, how)
    assert shown.wait() == 0
    assert "Stopped." in shown.seen
    assert "Traceback" not in shown.seen
    started = pids(shown.seen)
    assert len(started) == 2
    assert wait_until(lambda: not any(map(is_alive, started)), 30)


def test_the_server_can_ask_the_learner(running):
    """Standard input reaches the step, so `breakpoint()` works.

    A debugger reads without echo; if Ctrl-C ends it there, the terminal shows what is typed again.
    """
    shown = running(FAKE_ASK="1")
    shown.type("where am I\n")
    shown.read(until="heard where am I")
    silent = termios.tcgetattr(shown.screen)
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(shown.screen, termios.TCSANOW, silent)
    shown.type("\x03")
    shown.read(until="Stopped.")
    assert termios.tcgetattr(shown.screen)[3] & termios.ECHO
    assert shown.wait() == 0


@pytest.mark.parametrize("code", ["0", "3"])
def test_a_server_that_ends_by_itself_is_a_failure(prepared, port, code):
    """The exit code is not 0, and a sentence gives the reason."""
    ended = run_course("run", "1", f"--port={port}", root=prepared, FAKE_CODE=code)
    assert ended.returncode == 2
    assert f"ended by itself (exit code {code})" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_in_use_is_refused_before_anything_is_done(tmp_path):
    """One sentence names another port, and no environment is made."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = sentence(run_course("run", "1", f"--port={port}", root=plant(tmp_path)))
    assert f"Port {port} is already in use" in line
    assert "make run STEP=1 PORT=" in line
    assert not (tmp_path / ".venv").exists()


def test_the_real_first_step(tmp_path, terminal, port):
    """Step 1 runs with Django's reloader, and Ctrl-C leaves no process behind.

    A reader's variable that belongs to another project, or slows down each start, has no effect.
    """
    step = all_steps()[0]
    plant(tmp_path)
    shutil.rmtree(tmp_path / step.label)
    ignored = shutil.ignore_patterns("*.sqlite3", "__pycache__")
    shutil.copytree(step.folder, tmp_path / step.label, ignore=ignored)
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    command = ["make", "run", "STEP=1", f"PORT={port}", f"PYTHON={sys.executable}"]
    foreign = {"DJANGO_SETTINGS_MODULE": "elsewhere", "PYTHONDONTWRITEBYTECODE": "1"}
    shown = terminal(command, tmp_path, **foreign)
    shown.read(until="(Ctrl-C stops it)")
    assert "Installing" not in shown.seen
    assert list((tmp_path / step.label).glob("config/__pycache__/*.pyc"))
    family = descendants(shown.pid)
    assert len(family) >= 3  # the course, the reloader and the server
    shown.type("\x03")
    shown.wait()
    assert "Stopped." in shown.seen
    assert "Traceback" not in shown.seen
    assert wait_until(lambda: not any(map(is_alive, family)), 30)
