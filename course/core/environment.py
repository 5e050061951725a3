"""The virtual environment `.venv`: made once, kept up to date, repaired when broken.

A stamp in the environment, `course.json`, names its Python, its folder, and a hash of each
requirement file that is installed. The stamp is deleted while packages are being installed, so
the next call repairs an interrupted installation. An environment whose folder was moved is made
anew, because its programs begin with the old path of Python.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from course.core.steps import ROOT, Step, all_steps
from course.core.terminal import UserError, say

STAMP = "course.json"
LOCK = "requirements.lock"
LAST_LINES = 8


def python_version() -> str:
    """Return the version of this Python, such as `3.11`."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def base_python() -> str:
    """Return the Python outside any environment, with which environments are made."""
    return getattr(sys, "_base_executable", None) or sys.executable


def venv_program(venv: Path, name: str) -> Path:
    """Return the path of a program such as `python` in the environment `venv`."""
    if os.name == "nt":
        return venv / "Scripts" / f"{name}.exe"
    return venv / "bin" / name


def fingerprint(file: Path) -> str:
    """Return a hash of the content of `file`; raise UserError if the file cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None


def origin(venv: Path) -> str:
    """Return the Python and the folder of an environment that this Python makes in `venv`."""
    return f"Python {python_version()} in {venv.resolve()}"


def read_stamp(venv: Path) -> dict[str, Any] | None:
    """Return the stamp of `venv`; None unless this Python made the environment in this folder."""
    try:
        stamp: dict[str, Any] = json.loads((venv / STAMP).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    sound = stamp.get("origin") == origin(venv) and venv_program(venv, "python").exists()
    return stamp if sound else None


def write_stamp(venv: Path, lock: str, installed: dict[str, str]) -> None:
    """Write the stamp: the hash of the lock file, and the hash of each installed file by name."""
    stamp = {"origin": origin(venv), "lock": lock, "installed": installed}
    (venv / STAMP).write_text(json.dumps(stamp, indent=2), "utf-8")


def require_venv() -> None:
    """Raise UserError if this Python lacks the module with pip, which Debian packs by itself."""
    if importlib.util.find_spec("ensurepip") is None:
        raise UserError(
            f"This Python {python_version()} cannot make virtual environments: "
            f"install python{python_version()}-venv (Debian and Ubuntu: "
            f"sudo apt install python{python_version()}-venv) and run the command again."
        )


@contextmanager
def alone(file: Path, what: str) -> Iterator[None]:
    """Hold the lock `file`, so that one command at a time does `what`; other commands wait.

    `what` is text for the message, such as "preparing the environment". On Windows, nobody waits.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"Another command is {what}: waiting for it.")
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def run_quietly(
    title: str,
    command: Sequence[str | Path],
    advice: str = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run `command`, and print a line with `title` and the duration of the work.

    Raises UserError with the last lines of the output if the command fails.
    """
    print(f"{title} … ", end="", flush=True)
    started = time.monotonic()
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        errors="replace",
    )
    if done.returncode:
        say("failed")
        tail = [f"    {line}" for line in done.stdout.strip().splitlines()[-LAST_LINES:]]
        said = "\n".join([f"{advice}It said:", *tail])
        raise UserError(f"{title} failed (exit code {done.returncode}). {said}")
    say(f"{time.monotonic() - started:.1f} s")


def find_uv(root: Path) -> Path | None:
    """Return uv: the one on PATH, or else that of `.course/uv`; install it there if need be.

    With the time for its own installation, uv makes an environment in half of pip's time. Return
    None if the lock file does not pin uv, if this Python has no pip, or if there is no uv for this
    machine.
    """
    if found := shutil.which("uv"):
        return Path(found)
    folder = root / ".course" / "uv"
    program = folder / "bin" / ("uv.exe" if os.name == "nt" else "uv")
    pinned = re.search(r"^uv==[\w.]+", (root / LOCK).read_text("utf-8"), re.MULTILINE)
    if pinned and not program.exists():
        command: list[str | Path] = [base_python(), "-m", "pip", "install", "--no-input"]
        command += ["--retries=0", "--only-binary=uv", "--target", folder, pinned[0]]
        with suppress(UserError):
            run_quietly("Fetching uv, which installs packages", command)
    return program if program.exists() else None


def create(venv: Path, uv: Path | None) -> None:
    """Make the environment `venv`, replacing what is there; raise UserError on failure."""
    if venv.is_symlink():
        venv.unlink()  # Another course may use what is there.
    command: list[str | Path] = [base_python(), "-m", "venv", "--clear", venv]
    if uv:
        command = [uv, "venv", "--quiet", "--clear", "--seed", "--python", base_python(), venv]
    else:
        require_venv()
    run_quietly(f"Creating the environment {venv.name} (Python {python_version()})", command)


def ensure(files: Sequence[Path], title: str, root: Path = ROOT) -> Path:
    """Install the requirement `files` in `.venv` of `root`, if needed; return its Python.

    `requirements.lock` pins every version. Raises UserError if the installation fails.
    """
    venv, python = root / ".venv", venv_program(root / ".venv", "python")
    lock = fingerprint(root / LOCK)
    wanted = {file.relative_to(root).as_posix(): fingerprint(file) for file in files}
    with alone(root / ".course" / "environment.lock", "preparing the environment"):
        stamp = read_stamp(venv)
        present = stamp["installed"] if stamp and stamp["lock"] == lock else {}
        if stamp and wanted.items() <= present.items():
            return python
        uv = find_uv(root)
        if not stamp:
            create(venv, uv)
        command: list[str | Path] = [python, "-m", "pip", "install", "--no-input"]
        if uv:
            command = [uv, "pip", "install", "--python", python]
        command += ["-c", root / LOCK]
        for file in files:
            command += ["-r", file]
        (venv / STAMP).unlink(missing_ok=True)
        try:
            run_quietly(title, command, "Is there a network connection? ")
        except UserError:
            # The installer failed by itself, so the environment has not changed.
            write_stamp(venv, lock, present)
            raise
        write_stamp(venv, lock, present | wanted)
    return python


def ensure_step(step: Step, root: Path = ROOT) -> Path:
    """Prepare `.venv` for running one step; return its Python."""
    files = [step.folder / "requirements.txt"]
    return ensure(files, f"Installing the packages of step {step.number}", root)


def ensure_everything(root: Path = ROOT) -> Path:
    """Prepare `.venv` for tests and checks of the whole course; return its Python."""
    files = [root / LOCK, *(step.folder / "requirements.txt" for step in all_steps(root))]
    return ensure(files, "Installing the packages of the course", root)
