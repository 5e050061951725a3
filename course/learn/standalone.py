"""Prove that a copy of a step runs by itself, with four plain commands.

The copy is in `.course/standalone/<step>/`. Its environment is kept between runs, and made anew if
the step's requirements, the lock file or Python change. After the first step, steps with equal
requirements share an environment.
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
from course.core.processes import clean_environment, stop, wait_until
from course.core.steps import ROOT, Step, copy_files, find_step, step_files
from course.core.terminal import say
from course.learn.results import PYTEST_OPTIONS, Test, write_junit

VENV = ".venv"
STARTS_WITHIN = 60  # seconds
ANSWERS_WITHIN = 20  # seconds
# These files of tests mostly wait, so they run in parallel with the other tests of a step.
WAITING = ("tests/test_reconnect.py", "tests/test_redis.py")


class ProofFailed(Exception):
    """A step does not run by itself; the text names the command and the failure."""


def refresh_copy(step: Step, copy: Path) -> None:
    """Make `copy` contain the step's files and the copy's environment, and nothing else."""
    copy.mkdir(parents=True, exist_ok=True)
    for entry in copy.iterdir():
        if entry.name == VENV:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    copy_files(step_files(step.folder), step.folder, copy)


def standalone_environment(lock: Path) -> dict[str, str]:
    """Return variables that share nothing with this repository but the pinned versions."""
    env = clean_environment()
    # A URL, because pip splits a path at its spaces.
    env["PIP_CONSTRAINT"] = lock.resolve().as_uri()
    env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    env["PIP_QUIET"] = "1"
    env["PYTHONUNBUFFERED"] = "1"
    return env


def run_shown(command: list[str | Path], copy: Path, env: dict[str, str]) -> None:
    """Print and run `command` in the copy; raise ProofFailed if the command fails."""
    text = " ".join(map(str, command))
    say(f"$ {text}")
    done = subprocess.run(command, cwd=copy, env=env, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise ProofFailed(f"`{text}` ended with exit code {done.returncode}")


def install(step: Step, copy: Path, lock: Path, env: dict[str, str]) -> Path:
    """Make the copy's environment and install its requirements, unless both are up to date.

    The first step proves the commands that a reader types; the others use uv, which is quicker.
    Return the environment's Python. Raises ProofFailed or UserError if that fails.
    """
    files = [copy / "requirements.txt"]
    if step.number == 1:
        venv, python = copy / VENV, environment.venv_program(Path(VENV), "python")
    else:
        venv = copy.with_name(f"packages-{environment.fingerprint(files[0])[:8]}") / VENV
        python = environment.venv_program(venv, "python")
    wanted = environment.marks(venv, lock, files)
    with environment.alone(venv.parent.with_suffix(".lock"), "installing the same packages"):
        if environment.read_stamp(venv) == wanted:
            say("The environment is up to date.")
            return python
        # A package that requirements.txt names no longer must be gone.
        shutil.rmtree(venv, ignore_errors=True)
        if step.number > 1:
            title = f"Installing the packages of {step.label}"
            return environment.ensure(files, title, lock.parent, venv.parent)
        environment.require_venv()
        run_shown([environment.base_python(), "-m", "venv", VENV], copy, env)
        pip = environment.venv_program(Path(VENV), "pip")
        run_shown([pip, "install", "-r", "requirements.txt"], copy, env)
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


def run_tests(step: Step, copy: Path, python: Path, env: dict[str, str], results: Path) -> int:
    """Run the step's tests in `copy`; return the exit code.

    The tests in `WAITING` run in parallel in a second copy, because each run of pytest has a
    database in its folder.
    """
    waiting = [file for file in WAITING if (copy / file).is_file()]
    runs = {copy: [f"--ignore={file}" for file in waiting]}
    if waiting:
        beside = copy.with_name(f"{step.label}-waiting")
        refresh_copy(step, beside)
        runs[beside] = waiting
    processes = list[subprocess.Popen[bytes]]()
    try:
        for folder, arguments in runs.items():
            command = ["-m", "pytest", *PYTEST_OPTIONS, *arguments]
            say(f"$ {' '.join([str(python), *command])}")
            command.append(f"--junitxml={results.resolve() / folder.name}.xml")
            program = str(copy.resolve() / python)
            processes.append(subprocess.Popen([program, *command], cwd=folder, env=env))
        codes = [process.wait() for process in processes]
    except KeyboardInterrupt:
        stop(*processes, grace=10.0)
        raise
    return next(filter(None, codes), 0)


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
        run_shown([python, "manage.py", "migrate"], copy, env)
        serve_once(copy, python, env)
    except ProofFailed as error:
        reason = str(error)
    outcome = "failed" if reason else "passed"
    proof = Test("runs on its own", outcome, time.monotonic() - started, reason)
    write_junit(proof, results / "proof.xml")
    if reason:
        print(f"{step.label} does not run on its own: {reason}", file=sys.stderr)
        return 1
    return run_tests(step, copy, python, env, results)
