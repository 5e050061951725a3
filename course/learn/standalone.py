"""Prove that a copy of a step runs by itself, with four plain commands.

The copy is in `.course/standalone/<step>/`. Its environment is kept between runs, and made anew if
the step's requirements, the lock file or Python change.
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

VENV = ".venv"
STARTS_WITHIN = 60  # seconds
ANSWERS_WITHIN = 20  # seconds


class ProofFailed(Exception):
    """A step does not run by itself; the text names the command and the failure."""


def refresh_copy(step: Step, copy: Path) -> None:
    """Make `copy` contain the step's files and the copy's environment, and nothing else."""
    copy.mkdir(parents=True, exist_ok=True)
    for entry in set(copy.iterdir()) - {copy / VENV}:
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    copy_files(step_files(step.folder), step.folder, copy)


def standalone_environment(lock: Path) -> dict[str, str]:
    """Return variables that share nothing with this repository but the pinned versions."""
    # A URL, because pip splits a path at its spaces.
    env = {"PIP_CONSTRAINT": lock.resolve().as_uri(), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return clean_environment() | env | {"PIP_QUIET": "1", "PYTHONUNBUFFERED": "1"}


def run_shown(command: list[str | Path], copy: Path, env: dict[str, str]) -> int:
    """Print `command`, run it in the copy to its end, and return its exit code."""
    words = [str(word) for word in command]
    say(f"$ {' '.join(words)}")
    return run_to_the_end(words, copy, env)


def require(command: list[str | Path], copy: Path, env: dict[str, str]) -> None:
    """Run `command` as `run_shown` does; raise ProofFailed if the command fails."""
    if code := run_shown(command, copy, env):
        raise ProofFailed(f"`{' '.join(map(str, command))}` ended with exit code {code}")


def install(step: Step, copy: Path, lock: Path, env: dict[str, str]) -> Path:
    """Make the copy's environment and install its requirements, unless both are up to date.

    The first step proves the commands that a reader types; the others use uv, which is quicker.
    Return the environment's Python. Raises ProofFailed or UserError if that fails.
    """
    venv, files = copy / VENV, [copy / "requirements.txt"]
    python, pip = (environment.venv_program(Path(VENV), name) for name in ("python", "pip"))
    wanted = environment.marks(venv, lock, files)
    if environment.read_stamp(venv) == wanted:
        say("The environment is up to date.")
        return python
    # A package that requirements.txt names no longer must be gone.
    shutil.rmtree(venv, ignore_errors=True)
    if step.number > 1:
        environment.ensure(files, f"Installing the packages of {step.label}", lock.parent, copy)
        return python
    require([environment.base_python(), "-m", "venv", VENV], copy, env)
    require([pip, "install", "-r", "requirements.txt"], copy, env)
    environment.write_stamp(venv, wanted)
    return python


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
    say(f"$ {' '.join(command)}")
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
    results.mkdir(parents=True, exist_ok=True)
    lock = root / environment.LOCK
    env = standalone_environment(lock)
    started = time.monotonic()
    reason = ""
    try:
        refresh_copy(step, copy)
        python = install(step, copy, lock, env)
        require([python, "manage.py", "migrate"], copy, env)
        serve_once(copy, python, env)
    except ProofFailed as error:
        reason = str(error)
    outcome = "failed" if reason else "passed"
    proof = Test("runs on its own", outcome, time.monotonic() - started, reason)
    write_junit(proof, results / "proof.xml")
    if reason:
        print(f"{step.label} does not run on its own: {reason}", file=sys.stderr)
        return 1
    junit = f"--junitxml={results.resolve() / 'pytest.xml'}"
    return run_shown([python, "-m", "pytest", *PYTEST_OPTIONS, junit], copy, env)
