"""Children and their descendants are ended, even if they ignore an interrupt."""

import os
import subprocess
import sys

import pytest

from course.checks.tools.conftest import clean, is_alive, pids
from course.core.processes import GIT_PLACES, descendants, start_job, stop, wait_until
from course.core.steps import ROOT

# A process and its child; both ignore an interrupt.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print(f"pid {os.getpid()}", flush=True)
if len(sys.argv) == 1:
    subprocess.run([sys.executable, __file__, "child"])
time.sleep(60)
"""


@pytest.fixture
def program(tmp_path):
    """A file with the program above."""
    file = tmp_path / "stubborn.py"
    file.write_text(STUBBORN)
    return file


@pytest.mark.parametrize("own_group", [True, False])
def test_who_ignores_an_interrupt_is_killed(program, tmp_path, own_group):
    """The process is killed, whether it leads its own group, as a job does, or is in our group."""
    log, command = tmp_path / "log", [sys.executable, str(program)]
    if own_group:
        process = start_job(command, log, tmp_path, os.environ)
    else:
        with log.open("w") as output:
            process = subprocess.Popen(command, stdout=output)
    assert wait_until(lambda: len(pids(log.read_text())) == 2, 20)
    family = pids(log.read_text())
    assert family[0] == process.pid
    assert descendants(process.pid) == {family[1]}
    stop(process, grace=0.1)
    assert wait_until(lambda: not any(map(is_alive, family)), 30)


def test_nothing_leads_a_test_into_another_repository():
    """In hooks and in `git rebase -x`, git's variables name the reader's repository.

    Many tests commit, so the settings of all tests delete these variables.
    """
    code = """
import os
import course.checks.conftest
print(*(name for name, value in os.environ.items() if value == "there"))
"""
    env = clean() | dict.fromkeys([*GIT_PLACES, "GIT_PAGER"], "there")
    left = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=env, text=True)
    assert left.split() == ["GIT_PAGER"]
