"""The virtual environment `.venv`: made once, kept up to date, repaired when broken.

A stamp in the environment, `course.txt`, has the marks of what is installed there: its Python with
its folder, the lock file, and each requirement file. The stamp is deleted while packages are being
installed, so the next call repairs an interrupted installation. An environment whose folder was
moved is made anew, because its programs begin with the old path of Python.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from course.core.steps import ROOT, all_steps
from course.core.terminal import UserError, say

STAMP = "course.txt"
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


def marks(venv: Path, lock: Path, files: Sequence[Path]) -> list[str]:
    """Return the marks that the stamp of `venv` has if this Python installed `files` there."""
    python = f"Python {python_version()} in {venv.resolve()}"
    pins = f"pinned by {fingerprint(lock)}"
    return [python, pins, *(f"{file.name} {fingerprint(file)}" for file in files)]


def read_stamp(venv: Path) -> list[str]:
    """Return the marks in the stamp of `venv`; none if it has no stamp or no Python."""
    stamp = venv / STAMP
    is_there = stamp.is_file() and venv_program(venv, "python").exists()
    return stamp.read_text("utf-8").splitlines() if is_there else []


def write_stamp(venv: Path, found: list[str]) -> None:
    """Write the stamp of `venv`."""
    (venv / STAMP).write_text("\n".join(found) + "\n", "utf-8")


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
    title: str, command: Sequence[str | Path], advice: str = "", **settings: Any
) -> None:
    """Run `command`, and print a line with `title` and the duration of the work.

    `settings` are those of subprocess. Raises UserError with the last lines of the output if the
    command fails.
    """
    print(f"{title} … ", end="", flush=True)
    started = time.monotonic()
    settings |= {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "errors": "replace"}
    done = subprocess.run(command, stderr=subprocess.STDOUT, **settings)
    if done.returncode:
        say("failed")
        tail = [f"    {line}" for line in done.stdout.strip().splitlines()[-LAST_LINES:]]
        said = "\n".join([f"{advice}It said:", *tail])
        raise UserError(f"{title} failed (exit code {done.returncode}). {said}")
    say(f"{time.monotonic() - started:.1f} s")


def find_uv(root: Path) -> str | None:
    """Return uv from PATH, or else from `.course/uv`; install it there if need be.

    With the time for its own installation, uv makes an environment in half of pip's time. Return
    None if the lock file does not pin uv, if this Python has no pip, or if there is no uv for this
    machine.
    """
    folder = root / ".course" / "uv"
    places = os.pathsep.join([os.environ["PATH"], str(folder / "bin")])
    pinned = re.search(r"^uv==[\w.]+", (root / LOCK).read_text("utf-8"), re.MULTILINE)
    if pinned and not shutil.which("uv", path=places):
        command = [base_python(), "-m", "pip", "install", "--no-input", "--retries=0"]
        command += ["--only-binary=uv", "--target", str(folder), pinned[0]]
        with suppress(UserError):
            run_quietly("Fetching uv, which installs packages", command)
    return shutil.which("uv", path=places)


def create(venv: Path, uv: str | Path | None) -> None:
    """Make the environment `venv`, replacing what is there; raise UserError on failure."""
    if venv.is_symlink():
        venv.unlink()  # Another course may use what is there.
    command: list[str | Path] = [base_python(), "-m", "venv", "--clear", venv]
    if uv:
        command = [uv, "venv", "--quiet", "--clear", "--seed", "--python", base_python(), venv]
    run_quietly(f"Creating the environment {venv.name} (Python {python_version()})", command)


def ensure(
    files: Sequence[Path], title: str, root: Path = ROOT, folder: Path | None = None
) -> Path:
    """Install the requirement `files` in `.venv` of `folder`, if needed; return its Python.

    Without `folder`, this is `.venv` of `root`. The environment of a `folder` has nothing else: it
    is made anew after each change. `requirements.lock` of `root` pins every version. Raises
    UserError if the installation fails.
    """
    venv, lock = (folder or root) / ".venv", root / LOCK
    python = venv_program(venv, "python")
    wanted = marks(venv, lock, files)
    with alone(root / ".course" / "environment.lock", "preparing the environment"):
        present = read_stamp(venv)
        if set(wanted) <= set(present):
            return python
        # Debian's Python has no pip that could fetch uv, but our own environment has uv.
        own = venv_program(root / ".venv", "uv")
        uv = own if folder and own.exists() else find_uv(root)
        if folder or wanted[0] not in present:
            create(venv, uv)
            present = wanted[:1]
        command: list[str | Path] = [python, "-m", "pip", "install", "--no-input"]
        if uv:
            command = [uv, "pip", "install", "--python", python]
        command += ["-c", lock, *(word for file in files for word in ("-r", file))]
        (venv / STAMP).unlink(missing_ok=True)
        try:
            run_quietly(title, command, "Is there a network connection? ")
        except UserError:
            # The installer failed by itself, so the environment has not changed.
            write_stamp(venv, present)
            raise
        # Marks that were made with another lock file no longer hold.
        kept = present if wanted[1] in present else []
        write_stamp(venv, [*kept, *wanted])
    return python


def ensure_everything(root: Path = ROOT) -> Path:
    """Prepare `.venv` for tests and checks of the whole course; return its Python."""
    files = [root / LOCK, *(step.folder / "requirements.txt" for step in all_steps(root))]
    return ensure(files, "Installing the packages of the course", root)
