"""Prove that a copy of a step runs by itself, in an environment with its own packages alone.

The copy is in `.course/standalone/<step>/`. Its environment is kept between runs, and made anew if
the step's requirements, the lock file or Python change. In chapter 1, a test types the commands of
the README that make an environment and install the packages with pip.
"""

import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from course.core import environment
from course.core.ports import HOST, answers, free_port
from course.core.processes import clean_environment, run_to_the_end, stop, wait_until
from course.core.steps import ROOT, Step, copy_files, find_step, step_files
from course.core.terminal import say
from course.learn.results import PYTEST_OPTIONS, Test, write_junit

STARTS_WITHIN = 60  # seconds
ANSWERS_WITHIN = 20  # seconds


class ProofFailed(Exception):
    """A step does not run by itself; the text names the command and the failure."""


def refresh_copy(step: Step, copy: Path) -> None:
    """Make `copy` contain the step's files and the copy's environment, and nothing else."""
    copy.mkdir(parents=True, exist_ok=True)
    for entry in set(copy.iterdir()) - {copy / ".venv"}:
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    copy_files(step_files(step.folder), step.folder, copy)


def run_shown(python: Path, words: list[str], copy: Path, env: dict[str, str]) -> int:
    """Print a command for Python, run it in the copy, and return its exit code."""
    say(f"$ {' '.join(['python', *words])}")
    return run_to_the_end([str(python), *words], copy, env)


def ask(exit_code: Callable[[], int | None], url: str) -> None:
    """Wait until a server answers, then GET `url`; raise ProofFailed if the answer is an error.

    `exit_code` returns the exit code of the server, or None as long as it runs.
    """
    port = int(url.rstrip("/").rpartition(":")[2])
    wait_until(lambda: exit_code() is not None or answers(port), STARTS_WITHIN)
    if exit_code() is not None:
        raise ProofFailed(f"runserver ended by itself with exit code {exit_code()}")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        direct.open(url, timeout=ANSWERS_WITHIN).close()
    except OSError as error:  # no answer, or a status such as 500
        raise ProofFailed(f"GET {url} failed: {error}") from None


def serve_once(copy: Path, python: Path, env: dict[str, str]) -> None:
    """Start the step's server, GET `/`, stop; raise ProofFailed if the answer is an error."""
    address = f"{HOST}:{free_port()}"
    command = [str(python), "manage.py", "runserver", address]
    say(f"$ python {' '.join(command[1:])}")
    server = subprocess.Popen(command, cwd=copy, env=env, stdin=subprocess.DEVNULL)
    try:
        ask(server.poll, f"http://{address}/")
        say(f"GET http://{address}/: OK")
    finally:
        stop(server)


def standalone(wanted: str, results: Path | None, root: Path = ROOT) -> int:
    """Prove the step called `wanted`, then run its tests; return the exit code.

    The proof and the tests each write a JUnit file to the folder `results`.
    """
    step = find_step(wanted, root)
    copy = root / ".course" / "standalone" / step.label
    results = results or root / ".course" / "results" / step.label
    env = clean_environment() | {"PYTHONUNBUFFERED": "1"}
    started, reason = time.monotonic(), ""
    refresh_copy(step, copy)
    title = f"Installing the packages of {step.label}"
    python = environment.ensure([copy / "requirements.txt"], title, root, copy)
    try:
        if code := run_shown(python, ["manage.py", "migrate"], copy, env):
            raise ProofFailed(f"`python manage.py migrate` ended with exit code {code}")
        serve_once(copy, python, env)
    except ProofFailed as error:
        reason = str(error)
    outcome = "failed" if reason else "passed"
    proof = Test("runs on its own", outcome, time.monotonic() - started, reason)
    write_junit([proof], results / "proof.xml")
    if reason:
        print(f"{step.label} does not run on its own: {reason}", file=sys.stderr)
        return 1
    junit = f"--junitxml={results.resolve() / 'pytest.xml'}"
    return run_shown(python, ["-m", "pytest", *PYTEST_OPTIONS, junit], copy, env)
