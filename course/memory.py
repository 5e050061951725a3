"""The memory of `make test-all`: the green jobs, each with a fingerprint of what it depends on.

If the files, Python, packages and programs of a green job have not changed, the job does not run
again, and its results are shown as remembered. CI remembers nothing.
"""

import hashlib
import json
import platform
import shutil
import stat
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from course.environment import LOCK
from course.results import REMEMBERED, Part, read_junit
from course.stack import find_programs
from course.steps import step_files
from course.terminal import UserError

NOTE = "green.json"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")


def read_file(file: Path) -> str:
    """Return a file's hash, its executable bit, and the target if the file is a link."""
    content = hashlib.sha256(file.read_bytes()).hexdigest()
    is_program = bool(file.stat().st_mode & stat.S_IXUSR)
    return f"{content} {is_program} {file.readlink() if file.is_symlink() else ''}"


def read_files(root: Path) -> dict[str, str]:
    """Return what `read_file` returns for each file of the course, by its path with slashes."""
    return {file.as_posix(): read_file(root / file) for file in step_files(root)}


def read_machine(python: Path) -> list[str]:
    """Return what else tests depend on: the machine, Python, packages, programs and their age.

    `python` is the Python of the course's environment.
    """
    venv = python.parent.parent
    found = [
        *venv.glob("lib/*/site-packages/*.dist-info"),
        *venv.glob("Lib/site-packages/*.dist-info"),
    ]
    packages = sorted(path.name for path in found)
    try:
        programs = [str(program) for program in find_programs(python).values()]
    except UserError:
        programs = []
    programs += filter(None, map(shutil.which, BROWSERS))
    aged = [f"{program} {Path(program).stat().st_mtime_ns}" for program in programs]
    return [platform.node(), platform.platform(), sys.version, *packages, *aged]


def is_needed(file: str, needs: Iterable[str]) -> bool:
    """Tell whether a job that needs these files and folders depends on `file`.

    Every job depends on the lock file, pytest's options and the tools: the files in `course` and in
    `course/stack`.
    """
    if file in (LOCK, "pyproject.toml") or file.rpartition("/")[0] in ("course", "course/stack"):
        return True
    return any(need in ("", file) or file.startswith(f"{need}/") for need in needs)


def fingerprint(needs: Iterable[str], files: Mapping[str, str], machine: list[str]) -> str:
    """Return a hash of everything that a job with these `needs` depends on."""
    needed = {file: content for file, content in files.items() if is_needed(file, needs)}
    return hashlib.sha256(json.dumps([machine, needed], sort_keys=True).encode()).hexdigest()


def note(part: Part, now: str) -> dict[str, object]:
    """Return the note about a green job with the fingerprint `now`."""
    return {"fingerprint": now, "tests": len(part.tests)}


def is_green(part: Part) -> bool:
    """Tell whether all tests passed, and at least one ran."""
    return bool(part.tests) and part.count("passed") == len(part.tests)


def recall(name: str, results: Path, now: str) -> Part | None:
    """Return the results of a job that was green with the fingerprint `now`, else None.

    Return None as well if the results are missing, or if another run has replaced them.
    """
    try:
        before = json.loads((results / NOTE).read_text("utf-8"))
        tests = [test for file in sorted(results.glob("*.xml")) for test in read_junit(file)]
    except (OSError, ValueError, ElementTree.ParseError):
        return None
    part = Part(name, 0.0, tests)
    if before != note(part, now) or not is_green(part):
        return None
    known = [replace(test, id=test.id + REMEMBERED, seconds=0.0) for test in tests]
    return Part(name, 0.0, known)


def remember(part: Part, results: Path, now: str) -> None:
    """Note that a job was green with the fingerprint `now`."""
    if is_green(part):
        (results / NOTE).write_text(json.dumps(note(part, now)) + "\n", "utf-8")


def forget(results: Path) -> None:
    """Delete the note about a job, because the job runs now and may be interrupted."""
    (results / NOTE).unlink(missing_ok=True)
