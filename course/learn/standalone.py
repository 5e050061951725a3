"""Prove that a copy of a step runs by itself, with four plain commands.

The copy is in `.course/standalone/<step>/`. Its environment is kept between runs, and made anew if
the step's requirements, the lock file or Python change.
"""

import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from course.core import environment
from course.core.environment import fingerprint
from course.core.ports import HOST, answers, free_port
from course.core.processes import clean_environment, start_job, stop, wait_until
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
    files = [file for file in step_files(step.folder) if VENV not in file.parts]
    copy_files(files, step.folder, copy)


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
    words = [str(word) for word in command]
    say(f"$ {' '.join(words)}")
    process = subprocess.Popen(words, cwd=copy, env=env, stdin=subprocess.DEVNULL)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        stop(process)
        raise
    if code != 0:
        raise ProofFailed(f"`{' '.join(words)}` ended with exit code {code}")


def install(step: Step, copy: Path, lock: Path, env: dict[str, str]) -> None:
    """Make the copy's environment and install its requirements, unless both are up to date.

    The first step proves the commands that a reader types; the others use uv, which is quicker.
    Raises ProofFailed, or UserError if this Python cannot make environments.
    """
    venv = copy / VENV
    pinned = fingerprint(lock)
    wanted = {"requirements.txt": fingerprint(copy / "requirements.txt")}
    stamp = environment.read_stamp(venv)
    if stamp and (stamp["lock"], stamp["installed"]) == (pinned, wanted):
        say("The environment is up to date.")
        return
    environment.require_venv()
    if venv.exists():
        shutil.rmtree(venv)
    # Our own environment has uv too. Debian's Python has no pip that could fetch it.
    own = environment.venv_program(lock.parent / ".venv", "uv")
    uv = own if own.exists() else environment.find_uv(lock.parent)
    if uv and step.number > 1:
        run_shown([uv, "venv", "--quiet", "--python", environment.base_python(), VENV], copy, env)
        words: list[str | Path] = [uv, "pip", "install", "--quiet", "-c", lock]
        words += ["-r", "requirements.txt"]
        run_shown(words, copy, env | {"VIRTUAL_ENV": str(venv.resolve())})
    else:
        run_shown([environment.base_python(), "-m", "venv", VENV], copy, env)
        pip = environment.venv_program(Path(VENV), "pip")
        run_shown([pip, "install", "-r", "requirements.txt"], copy, env)
    environment.write_stamp(venv, pinned, wanted)


def get(url: str) -> int:
    """GET `url`, following redirects; return the status of the last page."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=ANSWERS_WITHIN) as response:
            status: int = response.status
            return status
    except urllib.error.HTTPError as error:
        return error.code


def ask(exit_code: Callable[[], int | None], url: str) -> None:
    """Wait until a server answers, then GET `url`; raise ProofFailed unless the status is 200.

    `exit_code` returns the exit code of the server, or None as long as it runs.
    """
    port = int(url.rstrip("/").rpartition(":")[2])
    wait_until(lambda: exit_code() is not None or answers(port), STARTS_WITHIN)
    if exit_code() is not None:
        raise ProofFailed(f"runserver ended by itself with exit code {exit_code()}")
    try:
        status = get(url)
    except OSError as error:
        raise ProofFailed(f"GET {url} failed: {error}") from None
    if status != 200:
        raise ProofFailed(f"GET {url} answered {status} instead of 200")


def serve_once(copy: Path, python: Path, env: dict[str, str]) -> None:
    """Start the step's server, GET `/`, stop; raise ProofFailed unless the status is 200."""
    address = f"{HOST}:{free_port()}"
    command = [str(python), "manage.py", "runserver", address]
    say(f"$ {' '.join(command)}")
    server = subprocess.Popen(command, cwd=copy, env=env, stdin=subprocess.DEVNULL)
    try:
        ask(server.poll, f"http://{address}/")
        say(f"GET http://{address}/: 200")
    finally:
        stop(server)


def prove(step: Step, copy: Path, lock: Path) -> Path:
    """Install, migrate and serve the step in `copy`; return the Python of its environment.

    Raises ProofFailed, or UserError if this Python cannot make environments.
    """
    refresh_copy(step, copy)
    env = standalone_environment(lock)
    install(step, copy, lock, env)
    python = environment.venv_program(Path(VENV), "python")
    run_shown([python, "manage.py", "migrate"], copy, env)
    serve_once(copy, python, env)
    return python


def run_tests(step: Step, copy: Path, python: Path, lock: Path, results: Path) -> int:
    """Run the step's tests in `copy`; return the exit code.

    The tests in `WAITING` run in parallel in a second copy, because each run of pytest has a
    database in its folder. Their output is printed at the end.
    """
    env = standalone_environment(lock)
    pytest = ["-m", "pytest", *PYTEST_OPTIONS]
    waiting = [file for file in WAITING if (copy / file).is_file()]
    running: list[subprocess.Popen[bytes]] = []
    beside = copy.with_name(f"{step.label}-waiting")
    log = beside.with_suffix(".log")
    try:
        if waiting:
            refresh_copy(step, beside)
            command = [str(copy.absolute() / python), *pytest, *waiting]
            command.append(f"--junitxml={results.resolve() / 'waiting.xml'}")
            running.append(start_job(command, log, beside, env))
        command = [str(python), *pytest, *(f"--ignore={file}" for file in waiting)]
        say(f"$ {' '.join(command)}")
        command.append(f"--junitxml={results.resolve() / 'pytest.xml'}")
        running.append(subprocess.Popen(command, cwd=copy, env=env))
        codes = [process.wait() for process in reversed(running)]
    except KeyboardInterrupt:
        stop(*running, grace=10.0)
        raise
    if waiting:
        say(f"$ {' '.join([str(python), *pytest, *waiting])}")
        say(log.read_text("utf-8", errors="replace").rstrip())
    return next(filter(None, codes), 0)


def standalone(wanted: str, results: Path | None, root: Path = ROOT) -> int:
    """Prove the step called `wanted`, then run its tests; return the exit code.

    The proof and the tests each write a JUnit file to the folder `results`.
    """
    step = find_step(wanted, root)
    copy = root / ".course" / "standalone" / step.label
    results = results or root / ".course" / "results" / step.label
    results.mkdir(parents=True, exist_ok=True)
    lock = root / "requirements.lock"
    started = time.monotonic()
    reason = None
    try:
        python = prove(step, copy, lock)
    except ProofFailed as error:
        reason = str(error)
    outcome = "failed" if reason else "passed"
    proof = Test("runs on its own", outcome, time.monotonic() - started, reason or "")
    write_junit(proof, results / "proof.xml")
    if reason:
        print(f"{step.label} does not run on its own: {reason}", file=sys.stderr)
        return 1
    return run_tests(step, copy, python, lock, results)
