"""`make upgrade`: raise all versions. `make test-all DJANGO=…`: try another Django.

uv looks for the newest releases that work together, and the lock file takes them. A range in a
requirements file changes only if it excludes the new release; its form decides its new value:

    name~=4.3       the newest release is 5.1.2: `~=5.1`
    name>=1.2,<3    the newest release is 4.9: `>=1.2,<5`
    name~=5.2.0     unchanged: three numbers keep a package on its series, as Django on 5.2

`make test-all DJANGO=latest` changes no file here. The tests run in a copy of the course,
`.course/django-…`, with its own environment and lock file.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from course.core import environment
from course.core.environment import LOCK, venv_program
from course.core.manifest import INTERIM
from course.core.processes import CommandFailed, run_quietly, stop
from course.core.steps import ROOT, all_steps, copy_files, step_files
from course.core.terminal import Progress, UserError, colour, say

OLDEST_PYTHON = "3.11"
# A package's name with its extras, and its range.
REQUIREMENT = re.compile(r"^(([A-Za-z][\w.-]*)(?:\[[\w,]+\])?)([^\s;#]*)", re.MULTILINE)
HEAD = """\
# Every version that make and CI install, for Python 3.11 and later. Made by `make upgrade` from
# course/requirements.txt and the requirements.txt of each step.
"""


def requirement_files(root: Path) -> list[Path]:
    """Return the requirements files from which the lock file is made."""
    steps = [step.folder / "requirements.txt" for step in all_steps(root)]
    interim = sorted((root / INTERIM).glob("*/*/requirements.txt"))
    return [root / "course" / "requirements.txt", *steps, *interim]


def normal(name: str) -> str:
    """Return the normalized name of a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked_versions(root: Path) -> dict[str, str]:
    """Return the version of each package in the lock file of `root`, by normalized name."""
    lock = (root / LOCK).read_text("utf-8")
    return {normal(name): version for name, version in re.findall(r"(?m)^(\S+)==([^\s;]+)", lock)}


def with_ranges(text: str, change: Callable[[str, str], str]) -> str:
    """Return the text of a requirements file with each range replaced by `change(name, range)`."""
    return REQUIREMENT.sub(lambda found: found[1] + change(normal(found[2]), found[3]), text)


def without_end(wanted: str) -> str:
    """Return a range that newer releases satisfy too; the range of a series is returned as is."""
    return re.sub(r",?<\d+$", "", re.sub(r"^~=(\d+\.\d+)$", r">=\1", wanted))


def raised(wanted: str, newest: str) -> str:
    """Return the range `wanted`, changed if it would exclude the release `newest`."""
    major, minor, *_ = [*newest.split("."), "0"]
    if re.fullmatch(r"~=\d+\.\d+", wanted) and not wanted.startswith(f"~={major}."):
        return f"~={major}.{minor}"
    return re.sub(r"<(\d+)$", lambda end: f"<{max(int(end[1]), int(major) + 1)}", wanted)


def resolve(root: Path, python: Path, requirements: str, *options: str) -> None:
    """Write versions that satisfy `requirements` to the lock file of `root`.

    uv, from the environment of `python`, keeps the versions that the lock file already has, unless
    `options` say otherwise. Raises UserError if there is no solution or no network; the lock file
    is then unchanged.
    """
    wanted = root / ".course" / "wanted.txt"
    wanted.write_text(requirements, "utf-8")
    uv = venv_program(python.parent.parent, "uv")
    command = [uv, "pip", "compile", "--quiet", "--universal", "--no-header", "--no-annotate"]
    # If the newest release of a package has left the oldest Python behind, take the release before
    # for all Pythons, not one release for each.
    command += ["--fork-strategy", "fewest", "--output-file", root / LOCK, *options, wanted]
    progress = Progress("Looking for versions that work together")
    try:
        run_quietly(command, progress)
    except CommandFailed as error:
        raise environment.failure("Looking for versions", error) from None
    progress.done()
    (root / LOCK).write_text(HEAD + (root / LOCK).read_text("utf-8"), "utf-8")


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return a line for each package whose version differs; a new major version stands out."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, "none"), after.get(name, "none")
        line = f"  {name:<28}{old:>14} → {new:<14}"
        if "none" not in (old, new) and old.split(".")[0] != new.split(".")[0]:
            line = colour(f"{line} NEW MAJOR VERSION", "yellow")
        if old != new:
            lines.append(line.rstrip())
    return lines


def upgrade(only: str | None = None, root: Path = ROOT) -> int:
    """Raise ranges and lock file to the newest releases; return the exit code.

    `only` is the name of a package: raise this package alone. Raises UserError if the lock file
    has no such package, or if there is no solution or no network; no file is then changed.
    """
    before = locked_versions(root)
    if only and normal(only) not in before:
        raise UserError(f"{LOCK} has no package {only}: ONLY must name a package from that file.")
    python = environment.ensure_everything(root)
    texts = {file: file.read_text("utf-8") for file in requirement_files(root)}

    def opened(name: str, wanted: str) -> str:
        return wanted if only and name != normal(only) else without_end(wanted)

    requirements = "\n".join(with_ranges(text, opened) for text in texts.values())
    options = ["--upgrade-package", only] if only else ["--upgrade"]
    resolve(root, python, requirements, "--python-version", OLDEST_PYTHON, *options)
    after = locked_versions(root)
    for file, text in texts.items():
        file.write_text(
            with_ranges(text, lambda name, wanted: raised(wanted, after.get(name, "0"))), "utf-8"
        )
    if changes := differences(before, after):
        say("\n".join(changes))
        say("Read the changelog of each new major version. To test all of it: make test-all")
        say("To undo this: git restore requirements.lock '*requirements.txt'")
    else:
        say("There is no newer version.")
    return 0


def django_range(wanted: str) -> str:
    """Return the range for `DJANGO=wanted`: `latest`, or a series such as `6.0`.

    Raises UserError for anything else.
    """
    if wanted == "latest":
        return ""
    if re.fullmatch(r"\d+\.\d+", wanted):
        return f"~={wanted}.0"
    raise UserError(f"DJANGO must be latest or a series such as 6.0, not {wanted!r}.")


def try_django(wanted: str, root: Path = ROOT) -> int:
    """Run all tests on another Django, in a copy of the course; return the exit code."""
    range_ = django_range(wanted)
    version = environment.python_version()
    copy = root / ".course" / f"django-{wanted}-python-{version}"
    lay_out(root, copy)
    requirements = []
    for file in requirement_files(copy):
        text = file.read_text("utf-8")
        text = with_ranges(text, lambda name, old: range_ if name == "django" else old)
        file.write_text(text, "utf-8")
        requirements.append(text)
    tools = [copy / "course" / "requirements.txt"]
    python = environment.ensure(tools, "Installing the tools of the course", copy)
    # Resolve for this Python only: the newest Django may not support the oldest Python.
    options = ["--python-version", version, "--upgrade-package", "django"]
    resolve(copy, python, "\n".join(requirements), *options)
    say(f"Django {locked_versions(copy)['django']} on Python {version}")
    process = subprocess.Popen([sys.executable, "-m", "course", "test-all"], cwd=copy)
    try:
        return process.wait()
    except KeyboardInterrupt:
        stop(process, grace=10.0)
        raise


def lay_out(root: Path, copy: Path) -> None:
    """Make `copy` contain the course's files; keep its `.course` and `.venv`."""
    copy.mkdir(parents=True, exist_ok=True)
    for entry in copy.iterdir():
        if entry.is_dir() and entry.name not in (".course", ".venv"):
            shutil.rmtree(entry)
        elif not entry.is_dir():
            entry.unlink()
    copy_files(step_files(root), root, copy)
    if shutil.which("git"):
        # The copy needs its own repository, because the course's repository ignores `.course`.
        subprocess.run(["git", "init", "--quiet"], cwd=copy, check=True)
