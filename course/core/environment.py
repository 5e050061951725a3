"""The virtual environment `.venv`: made once, kept up to date, repaired when broken.

A stamp in the environment, `course.json`, names its Python, its folder, and a hash of each
requirement file that is installed. The stamp is deleted while packages are being installed, so
the next call repairs an interrupted installation. An environment whose folder was moved is made
anew, because its programs begin with the old path of Python.
"""

import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from course.core.processes import CommandFailed, run_quietly
from course.core.steps import ROOT, Step, all_steps
from course.core.terminal import Progress, UserError, say

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


def read_stamp(venv: Path) -> dict[str, Any] | None:
    """Return the stamp of `venv`; None unless this Python made the environment in this folder."""
    try:
        stamp: dict[str, Any] = json.loads((venv / STAMP).read_text("utf-8"))
        as_written = new_stamp(venv, stamp["lock"], dict(stamp["installed"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    sound = stamp == as_written and venv_program(venv, "python").exists()
    return stamp if sound else None


def new_stamp(venv: Path, lock: str, installed: dict[str, str]) -> dict[str, Any]:
    """Return the stamp for an environment that this Python made in the folder `venv`."""
    made = {"python": python_version(), "venv": str(venv.resolve())}
    return made | {"lock": lock, "installed": installed}


def write_stamp(venv: Path, lock: str, installed: dict[str, str]) -> None:
    """Write the stamp: the hash of the lock file, and the hash of each installed file by name."""
    stamp = json.dumps(new_stamp(venv, lock, installed), indent=2)
    (venv / STAMP).write_text(stamp + "\n", "utf-8")


def require_venv() -> None:
    """Raise UserError if this Python lacks the modules that make environments."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"This Python {python_version()} cannot make virtual environments ({error}): "
            f"install python{python_version()}-venv (Debian and Ubuntu: "
            f"sudo apt install python{python_version()}-venv) and run the command again."
        ) from None


def take(handle: TextIO) -> bool:
    """Lock an open file until it is closed; return False if another process holds the lock."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


@contextmanager
def alone(file: Path, what: str) -> Iterator[None]:
    """Hold the lock `file`, so that one command at a time does `what`; other commands wait.

    `what` is text for the message, such as "preparing the environment".
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        if not take(handle):
            say(f"Another command is {what}: waiting for it.")
            while not take(handle):
                time.sleep(0.1)
        yield


def failure(title: str, error: CommandFailed, advice: str = "") -> UserError:
    """Return the error for a failed command: a sentence and the last lines of its output."""
    tail = "\n".join(f"    {line}" for line in error.output.strip().splitlines()[-LAST_LINES:])
    return UserError(f"{title} failed (exit code {error.code}). {advice}It said:\n{tail}")


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
        options = ["--no-input", "--retries=0", "--only-binary=uv", "--target", str(folder)]
        progress = Progress("Fetching uv, which installs packages")
        with suppress(CommandFailed):
            run_quietly([base_python(), "-m", "pip", "install", *options, pinned[0]], progress)
            progress.done()
    return program if program.exists() else None


def create(venv: Path, uv: Path | None) -> None:
    """Make the environment `venv`, replacing what is there; raise UserError on failure."""
    command: list[str | Path]
    if uv:
        command = [uv, "venv", "--quiet", "--clear", "--seed", "--python", base_python(), venv]
    else:
        require_venv()
        command = [base_python(), "-m", "venv", "--clear", venv]
    if venv.is_symlink() or venv.is_file():
        venv.unlink()
    progress = Progress(f"Creating the environment {venv.name} (Python {python_version()})")
    try:
        run_quietly(command, progress)
    except CommandFailed as error:
        raise failure("Creating the environment", error) from None
    progress.done()


def install(venv: Path, uv: Path | None, arguments: Sequence[str | Path], title: str) -> None:
    """Install packages with `arguments` for pip; raise UserError on failure."""
    python = venv_program(venv, "python")
    command: list[str | Path] = [python, "-m", "pip", "install", "--no-input"]
    if uv:
        command = [uv, "pip", "install", "--python", python]
    progress = Progress(title)
    try:
        run_quietly([*command, *arguments], progress)
    except CommandFailed as error:
        advice = "Is there a network connection? "
        raise failure("Installing the packages", error, advice) from None
    progress.done()


def ensure(files: Sequence[Path], title: str, root: Path = ROOT) -> Path:
    """Install the requirement `files` in `.venv` of `root`, if needed; return its Python.

    `requirements.lock` pins every version. Raises UserError if the installation fails.
    """
    venv = root / ".venv"
    lock_file = root / LOCK
    lock = fingerprint(lock_file)
    wanted = {file.relative_to(root).as_posix(): fingerprint(file) for file in files}

    def installed() -> dict[str, str] | None:
        """Return what is installed with this lock file; None if the environment is unusable."""
        stamp = read_stamp(venv)
        if stamp is None:
            return None
        return stamp["installed"] if stamp["lock"] == lock else {}

    def complete(present: dict[str, str] | None) -> bool:
        return present is not None and wanted.items() <= present.items()

    if not complete(installed()):
        with alone(root / ".course" / "environment.lock", "preparing the environment"):
            present = installed()
            uv = None if complete(present) else find_uv(root)
            if present is None:
                create(venv, uv)
                present = {}
            if not complete(present):
                (venv / STAMP).unlink(missing_ok=True)
                arguments = [word for file in files for word in ("-r", file)]
                try:
                    install(venv, uv, ["-c", lock_file, *arguments], title)
                except UserError:
                    # The installer failed by itself, so the environment has not changed.
                    write_stamp(venv, lock, present)
                    raise
                write_stamp(venv, lock, present | wanted)
    return venv_program(venv, "python")


def ensure_step(step: Step, root: Path = ROOT) -> Path:
    """Prepare `.venv` for running one step; return its Python."""
    files = [step.folder / "requirements.txt"]
    return ensure(files, f"Installing the packages of step {step.number}", root)


def ensure_everything(root: Path = ROOT) -> Path:
    """Prepare `.venv` for tests and checks of the whole course; return its Python."""
    files = [root / LOCK]
    files += [step.folder / "requirements.txt" for step in all_steps(root)]
    return ensure(files, "Installing the packages of the course", root)
