"""`make diff`: show the differences between two steps, without files that explain nothing.

Between a step and the next one, the diff goes part by part: each mid-point against the mid-point
before. Git compares the mid-points in a repository of their own, in a temporary folder.
"""

import os
import pydoc
import re
import subprocess
import sys
import tempfile
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from course.core.manifest import Midpoint, chain, load, read_step
from course.core.parts import find_midpoint
from course.core.steps import ROOT, Step, all_steps, find_step
from course.core.terminal import UserError, colour, wants_colour

# README and tests are read on their own, Django generates migrations, and pictures are no text.
LEFT_OUT = ["tests/*", "README.md", "*/migrations/*", "pytest.ini", "*.png", "*.ico", "*.svg"]
SHOWN = [f":(exclude){pattern}" for pattern in LEFT_OUT]
WIDTH = 59
# The lines of a file as git counts them: no number for a picture, and both names of a rename.
COUNTS = re.compile(r"(\d*)-?\t(\d*)-?\t(?:\0[^\0]*\0)?([^\0]*)\0")
# The line of hashes above each file; it may begin with a colour.
HASHES = re.compile(r"^[^ +-]*index [0-9a-f]+\.\..*\n", re.MULTILINE)
# For these languages, git names the class or function in the header of a hunk.
ATTRIBUTES = "*.py diff=python\n*.html diff=html\n*.css diff=css\n"


Change = tuple[str, int, int]  # the path in the later step, or the earlier one; the lines


class Section(NamedTuple):
    """Two mid-points to compare under one title; `files` is the order of the files."""

    title: str
    before: Midpoint
    after: Midpoint
    files: list[str]


def sections(steps: tuple[Step, Step], wanted: str | None, root: Path) -> list[Section]:
    """Return the sections of a diff: one for each part, if the steps follow each other.

    If `wanted` is the number of a part, return that section alone. Raises UserError if there is
    no such part.
    """
    entries = load(root) if steps in pairwise(all_steps(root)) else []
    parts = [part for entry in entries if entry.label == steps[1].label for part in entry.parts]
    if not parts:
        if wanted is not None:
            raise UserError(
                f"From {steps[0].label} to {steps[1].label} there are no parts: leave out PART."
            )
        return [Section("", read_step(steps[0]), read_step(steps[1]), [])]
    # The folder replaces the last mid-point, so a maintainer also sees files that no part names.
    points = [*chain(steps[1], root)[:-1], read_step(steps[1])]
    found = [
        Section(f"Part {n} of {len(parts)}: {part.name}", points[n - 1], points[n], part.files)
        for n, part in enumerate(parts, 1)
    ]
    return found if wanted is None else [found[find_midpoint(steps[1], wanted, root).number - 1]]


def git(repository: Path, *arguments: str, stdin: bytes = b"") -> str:
    """Return the output of a git command in a bare repository; raise UserError without git.

    A byte that is no UTF-8 becomes a replacement character.
    """
    command = ["git", f"--git-dir={repository}", "-c", "core.quotePath=false", *arguments]
    try:
        done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True)
    except FileNotFoundError:
        raise UserError("make diff needs git: install it, and run the command again.") from None
    return done.stdout.decode(errors="replace")


def store(found: list[Section], repository: Path) -> None:
    """Make a bare repository in which each mid-point is a branch with the mid-point's label."""
    git(repository, "init", "--quiet", "--bare")
    (repository / "info").mkdir(exist_ok=True)
    (repository / "info" / "attributes").write_text(ATTRIBUTES, "utf-8")
    points = {each.label: each for section in found for each in (section.before, section.after)}
    stream = b""
    for label, point in points.items():
        stream += f"commit refs/heads/{label}\ncommitter course <> 0 +0000\ndata 0\n".encode()
        for path in point.files:
            mode, text = "755" if point.is_executable(path) else "644", point.text(path)
            stream += f"M {mode} inline {path}\ndata {len(text)}\n".encode() + text + b"\n"
    git(repository, "fast-import", "--quiet", stdin=stream)


def compare(section: Section, paths: list[str], repository: Path, *options: str) -> str:
    """Return the diff of the files that match git's patterns `paths`, in the section's order."""
    before, after = section.before.label, section.after.label
    order = repository / "order"
    order.write_text("\n".join(section.files), "utf-8")
    # These options override the settings of the reader's own git that would change the diff.
    fixed = ["diff", "-M", "--no-ext-diff", "--diff-algorithm=histogram", f"-O{order}", *options]
    fixed += [f"--src-prefix={before}/", f"--dst-prefix={after}/"]
    fixed += ["--color=always" if wants_colour(sys.stdout) else "--color=never"]
    return HASHES.sub("", git(repository, *fixed, before, after, "--", *paths))


def count(section: Section, paths: list[str], repository: Path) -> list[Change]:
    """Return the changed lines of the files that match git's patterns `paths`."""
    found = COUNTS.findall(compare(section, paths, repository, "--numstat", "-z"))
    return [(path, int(added or 0), int(removed or 0)) for added, removed, path in found]


def row(title: str, changes: list[Change]) -> str:
    """Return a line with the sums of the added and the removed lines."""
    added, removed = sum(each[1] for each in changes), sum(each[2] for each in changes)
    return f"{title:<42}{f'+{added}':>8}{f'−{removed}':>9}"


def heading(*rows: str) -> str:
    """Return rows between two bars."""
    # Colour each line by itself: a pager resets the colour at the end of a line.
    return "".join(f"{colour(line, 'bold')}\n" for line in ("=" * WIDTH, *rows, "=" * WIDTH))


def is_counted(path: str) -> bool:
    """Tell whether a file counts for the size of a part: what a class has to read and write."""
    return path.endswith((".py", ".html", ".js")) and not path.startswith("deploy/")


def show(
    first: str, second: str, part: str | None = None, only: str | None = None, root: Path = ROOT
) -> int:
    """Show the differences between two steps and count the lines; return the exit code.

    `part` is the number of a part: show that part alone. `only` is the path of a file in the step:
    show that file alone, even one of `LEFT_OUT`. Raises UserError for a wrong step, part or file.
    """
    steps = find_step(first, root), find_step(second, root)
    if steps[0] == steps[1]:
        raise UserError(f"{steps[0].label} against itself shows nothing: name two different steps.")
    found = sections(steps, part, root)
    paths = [f":(literal){only}"] if only else SHOWN
    shown, counted = list[str](), list[Change]()
    with tempfile.TemporaryDirectory() as folder:
        store(found, Path(folder))
        for section in found:
            read = count(section, paths, Path(folder))
            noise = [] if only else count(section, LEFT_OUT, Path(folder))
            if section.title and (read or noise):
                shown.append(heading(row(section.title, read)))
            shown.append(compare(section, paths, Path(folder)))
            if noise:
                named = ", ".join(f"{path} +{added} −{removed}" for path, added, removed in noise)
                told = textwrap.fill(f"Left out above: {named}", break_on_hyphens=False)
                shown.append(f"\n{told}\n")
            shown += ["\n"] if read or noise else []
            counted += read
    if only and not counted:
        raise UserError(f"{only} does not change there: name a path such as chat/consumers.py.")
    os.environ.setdefault("LESS", "FRX")  # quit at once if the text fits, and show colours
    budget = [each for each in counted if is_counted(each[0])]
    rows = row("All lines above", counted), row("Python, templates and JavaScript", budget)
    pydoc.pager("".join([*shown, heading(*rows)]))
    sys.stdout.flush()
    return 0
