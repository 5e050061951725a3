"""What `make test-all` remembers: the jobs that were green, and all that they depended on.

A job whose files, Python, packages and programs are what they were when all its tests passed is
not run again; its results are shown as remembered. CI remembers nothing.
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
    """Return all that git keeps of a file: a hash, whether it is a program, where a link leads."""
    content = hashlib.sha256(file.read_bytes()).hexdigest()
    is_program = bool(file.stat().st_mode & stat.S_IXUSR)
    return f"{content} {is_program} {file.readlink() if file.is_symlink() else ''}"


def read_files(root: Path) -> dict[str, str]:
    """Return what there is to know of each file of the course, by its path with slashes."""
    return {file.as_posix(): read_file(root / file) for file in step_files(root)}


def read_machine(python: Path) -> list[str]:
    """Return what else decides how tests end: Python, packages, and programs with their age.

    `python` is the one of the course's environment.
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

    Every job depends on the versions of all packages, pytest's options, and the tools: the files in
    `course` and `course/stack`.
    """
    if file in (LOCK, "pyproject.toml") or file.rpartition("/")[0] in ("course", "course/stack"):
        return True
    return any(need in ("", file) or file.startswith(f"{need}/") for need in needs)


def fingerprint(needs: Iterable[str], files: Mapping[str, str], machine: list[str]) -> str:
    """Return a hash of all that a job with these `needs` depends on."""
    needed = {file: content for file, content in files.items() if is_needed(file, needs)}
    return hashlib.sha256(json.dumps([machine, needed], sort_keys=True).encode()).hexdigest()


def note(part: Part, now: str) -> dict[str, object]:
    """Return what is noted of a green job with the fingerprint `now`."""
    return {"fingerprint": now, "tests": len(part.tests)}


def is_green(part: Part) -> bool:
    """Tell whether all tests passed, of which there was one at least."""
    return bool(part.tests) and part.count("passed") == len(part.tests)


def recall(name: str, results: Path, now: str) -> Part | None:
    """Return what the job of this name came to when its fingerprint was `now`, if it was green.

    Where results have gone, or were written by somebody else since, nothing is known of it.
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
    """Note that nothing is known of a job: it runs now, and may be broken off."""
    (results / NOTE).unlink(missing_ok=True)
