"""`make upgrade`: raise all versions. `make test-all DJANGO=…`: try another Django."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from course.core import environment
from course.core.environment import LOCK, venv_program
from course.core.processes import run_to_the_end
from course.core.steps import ROOT, copy_files, list_folder, step_files
from course.core.terminal import UserError, colour, say

# A package's name with its extras, then its range.
REQUIREMENT = re.compile(r"^(([A-Za-z][\w.-]*)(?:\[[\w,]+\])?)([^\s;#]*)", re.MULTILINE)


def requirement_files(root: Path) -> list[Path]:
    """Return the requirements files from which the lock file is made."""
    return [root / path for path in list_folder(root) if path.name == "requirements.txt"]


def locked_versions(root: Path) -> dict[str, str]:
    """Return the version of each package in the lock file; names are in lower case."""
    return dict(re.findall(r"(?m)^(\S+)==([^\s;]+)", (root / LOCK).read_text("utf-8")))


def with_ranges(text: str, change: Callable[[str, str], str]) -> str:
    """Return the text of a requirements file with each range replaced by `change(name, range)`."""
    return REQUIREMENT.sub(lambda found: found[1] + change(found[2].lower(), found[3]), text)


def opened(wanted: str) -> str:
    """Return the range `wanted` without an upper bound; a series such as `~=5.2.0` stays."""
    return re.sub(r",?<\d+$", "", re.sub(r"^~=(\d+\.\d+)$", r">=\1", wanted))


def raised(wanted: str, newest: str) -> str:
    """Return the range `wanted`, changed if it excludes the release `newest`.

    For 5.1.2, `~=4.3` becomes `~=5.1`, and `>=1.2,<3` becomes `>=1.2,<6`. A series stays.
    """
    major, minor, *_ = [*newest.split("."), "0"]
    if re.fullmatch(r"~=\d+\.\d+", wanted) and not wanted.startswith(f"~={major}."):
        return f"~={major}.{minor}"
    return re.sub(r"<(\d+)$", lambda end: f"<{max(int(end[1]), int(major) + 1)}", wanted)


def resolve(root: Path, requirements: list[str], *options: str) -> None:
    """Write versions that satisfy the texts `requirements` to the lock file of `root`.

    Without `options`, uv keeps the versions that the lock file has. Raises UserError if there is
    no solution or no network; the lock file is then unchanged.
    """
    tools = [root / "course" / "requirements.txt"]
    python = environment.ensure(tools, "Installing the tools of the course", root)
    venv = python.parent.parent
    wanted = venv / "wanted.txt"
    wanted.write_text("\n".join(requirements), "utf-8")
    # If a new release has left the oldest Python behind, "fewest" takes the release before for
    # all Pythons, not one release for each.
    command = ["pip", "compile", "--quiet", "--universal", "--no-annotate"]
    command += ["--custom-compile-command", "make upgrade"]
    command += ["--fork-strategy", "fewest", "--output-file", str(root / LOCK), str(wanted)]
    say("Looking for versions that work together …")
    uv = str(venv_program(venv, "uv"))
    if subprocess.run([uv, *command, *options], stdout=subprocess.DEVNULL).returncode:
        raise UserError("Looking for versions failed: read the lines above. No file has changed.")


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return a line for each package whose version differs; a new major version stands out."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, "none"), after.get(name, "none")
        line = f"  {name:<28}{old:>14} → {new}"
        if name in before and name in after and old.split(".")[0] != new.split(".")[0]:
            line = colour(f"{line:<60}NEW MAJOR VERSION", "yellow")
        lines += [line] if old != new else []
    return lines


def upgrade(only: str | None = None, root: Path = ROOT) -> int:
    """Raise lock file and ranges to the newest releases, or those of one package; return 0.

    Raises UserError, before any file changes, if the lock file has no package `only`, or if there
    is no solution or no network.
    """
    before = locked_versions(root)
    if only and only.lower() not in before:
        raise UserError(f"{LOCK} has no package {only}: ONLY must name a package of that file.")
    texts = {file: file.read_text("utf-8") for file in requirement_files(root)}
    chosen = {only.lower()} if only else before.keys()
    wide = [
        with_ranges(text, lambda name, old: opened(old) if name in chosen else old)
        for text in texts.values()
    ]
    options = ["--upgrade-package", only] if only else ["--upgrade"]
    resolve(root, wide, "--python-version", "3.11", *options)
    after = locked_versions(root)
    for file, text in texts.items():
        file.write_text(with_ranges(text, lambda name, old: raised(old, after[name])), "utf-8")
    changes = differences(before, after)
    say("\n".join(changes) if changes else "There is no newer version.")
    if changes:
        say("To undo this: git restore requirements.lock '*requirements.txt'")
        say("Next: read the changelog of each new major version, and run: make docs test-all")
    return 0


def try_django(wanted: str, root: Path = ROOT) -> int:
    """Run all tests on another Django, in a copy of the course; return the exit code.

    `wanted` is `latest`, or a series such as `6.0`; raises UserError for anything else.
    """
    if wanted != "latest" and not re.fullmatch(r"\d+\.\d+", wanted):
        raise UserError(f"DJANGO must be latest or a series such as 6.0, not {wanted!r}.")
    series = "" if wanted == "latest" else f"~={wanted}.0"
    version = environment.python_version()
    copy = root / ".course" / f"django-{wanted}-python-{version}"
    shutil.rmtree(copy, ignore_errors=True)
    copy_files(step_files(root), root, copy)
    if shutil.which("git"):
        # The copy needs its own repository, because the course's repository ignores `.course`.
        subprocess.run(["git", "init", "--quiet"], cwd=copy, check=True)
    texts = []
    for file in requirement_files(copy):
        text = file.read_text("utf-8")
        texts.append(with_ranges(text, lambda name, old: series if name == "django" else old))
        file.write_text(texts[-1], "utf-8")
    # Resolve for this Python only: the newest Django may not support the oldest Python.
    resolve(copy, texts, "--python-version", version, "--upgrade-package", "django")
    say(f"Django {locked_versions(copy)['django']} on Python {version}")
    # The book shows requirements files, so its pages in the copy have to follow.
    for name in ("docs", "test-all"):
        if code := run_to_the_end([sys.executable, "-m", "course", name], copy):
            return code
    return 0
