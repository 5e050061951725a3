"""Ports: programs that run side by side never choose the same one."""

import subprocess
import sys

import pytest

from course.core.ports import is_free
from course.core.steps import ROOT, all_steps

# Two calls, and then the end of the input, so that both programs hold their ports at a time.
TAKE = "from {module} import free_port; print(free_port(), free_port(), flush=True); input()"


@pytest.mark.parametrize(
    ("module", "folder"),
    [("course.core.ports", ROOT), ("tests.server", all_steps()[0].folder)],
)
def test_processes_take_different_ports(module, folder):
    """No port is taken twice, although nobody listens on any of them yet. All are free."""
    command = [sys.executable, "-c", TAKE.format(module=module)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    running = [subprocess.Popen(command, cwd=folder, **pipes) for _ in range(3)]
    ports = [int(port) for process in running for port in process.stdout.readline().split()]
    for process in running:
        process.communicate(b"\n")
    assert len(set(ports)) == 6
    assert all(map(is_free, ports))
