"""Start modules in copies of a process that has imported Django, Channels and Daphne already.

These imports take most of a server's start. Each copy then imports the project.
"""

import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from course.core.processes import start_job

# Twisted's reactor must not be among these modules: all copies would share one event loop.
IMPORTED = [
    "autobahn.twisted.websocket",
    "channels.auth",
    "channels.generic.websocket",
    "channels.security.websocket",
    "django.contrib.auth.password_validation",
    "django.contrib.staticfiles.management.commands.runserver",
    "django.core.management.commands.check",
    "django.core.management.commands.migrate",
    "django.db.backends.sqlite3.base",
    "django.forms",
    "django.template.defaulttags",
    "twisted.internet.asyncioreactor",
    "twisted.web.http",
]


def become(words: Sequence[str], log: Path, cwd: Path, env: Mapping[str, str]) -> None:
    """Run a module as `python -m` does; this process is a copy, and becomes the module's own."""
    os.setsid()
    with log.open("wb") as output:
        for number in (1, 2):
            os.dup2(output.fileno(), number)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path.insert(0, str(cwd))
    sys.argv = [*words]
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


class Copy:
    """A copy that runs, with the methods of Popen."""

    def __init__(self, process: Any) -> None:
        self.process = process
        self.pid: int = process.pid
        self.terminate, self.kill = process.terminate, process.kill

    def poll(self) -> int | None:
        """Return the exit code, or None if the copy still runs."""
        code: int | None = self.process.exitcode
        return code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, for `timeout` seconds at most; return the exit code."""
        self.process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self.process.name, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the copy has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


def start_module(
    words: Sequence[str], log: Path, cwd: Path, env: Mapping[str, str], copied: bool = True
) -> Copy | subprocess.Popen[bytes]:
    """Start `python -m` with these words, as `start_job` does; return the process.

    At its end, a copy does not report exceptions that were lost in tasks. A test that reads such a
    report needs a process that is not `copied`.
    """
    if not copied or os.name == "nt":  # Windows cannot copy a process
        return start_job([sys.executable, "-m", *words], log, cwd, env)
    context = get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    arguments = words, log.resolve(), cwd.resolve(), env
    process = context.Process(target=become, args=arguments, daemon=True)
    process.start()
    return Copy(process)
