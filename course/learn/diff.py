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
# The line of hashes above each file; it may begin with a colour.
HASHES = re.compile(r"^[^ +-]*index [0-9a-f]+\.\..*\n", re.MULTILINE)
# For these languages, git names the class or function in the header of a hunk.
ATTRIBUTES = "*.py diff=python\n*.html diff=html\n*.css diff=css\n"


class Change(NamedTuple):
    """The path of a file in the later step, or in the earlier one, and its changed lines."""

    path: str
    added: int
    removed: int


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


def compare(section: Section, paths: list[str], repository: Path) -> tuple[str, list[Change]]:
    """Return the diff of the files that match git's patterns `paths`, in the section's order.

    Return the changed lines of these files as well.
    """
    before, after = section.before.label, section.after.label
    order = repository / "order"
    order.write_text("\n".join(section.files), "utf-8")
    # These options override the settings of the reader's own git that would change the diff.
    fixed = ["diff", "-M", "--no-ext-diff", "--diff-algorithm=histogram", f"-O{order}"]
    fixed += [f"--src-prefix={before}/", f"--dst-prefix={after}/"]
    fixed += ["--color=always" if wants_colour(sys.stdout) else "--color=never"]
    counts = git(repository, *fixed, "--numstat", "-z", before, after, "--", *paths)
    text = git(repository, *fixed, before, after, "--", *paths)
    changes = []
    fields = iter(counts.split("\0")[:-1])
    for field in fields:
        added, removed, path = field.split("\t")
        if not path:  # a rename: both names follow
            _, path = next(fields), next(fields)
        # Git writes "-" for the lines of a binary file.
        changes.append(Change(path, int(added.strip("-") or 0), int(removed.strip("-") or 0)))
    return HASHES.sub("", text), changes


def row(title: str, changes: list[Change]) -> str:
    """Return a line with the sums of the added and the removed lines."""
    added, removed = sum(each.added for each in changes), sum(each.removed for each in changes)
    return f"{title:<42}{f'+{added}':>8}{f'−{removed}':>9}"


def heading(*rows: str) -> str:
    """Return rows between two bars."""
    # Colour each line by itself: a pager resets the colour at the end of a line.
    return "".join(f"{colour(line, 'bold')}\n" for line in ("=" * WIDTH, *rows, "=" * WIDTH))


def is_counted(change: Change) -> bool:
    """Tell whether a file counts for the size of a part: what a class has to read and write."""
    return change.path.endswith((".py", ".html", ".js")) and not change.path.startswith("deploy/")


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
            text, read = compare(section, paths, Path(folder))
            noise = [] if only else compare(section, LEFT_OUT, Path(folder))[1]
            if section.title and (read or noise):
                text = heading(row(section.title, read)) + text
            if noise:
                named = ", ".join(f"{each.path} +{each.added} −{each.removed}" for each in noise)
                text += "\n" + textwrap.fill(f"Left out above: {named}", break_on_hyphens=False)
                text += "\n"
            shown += [text] if text else []
            counted += read
    if only and not counted:
        raise UserError(f"{only} does not change there: name a path such as chat/consumers.py.")
    os.environ.setdefault("LESS", "FRX")  # quit at once if the text fits, and show colours
    budget = row("Python, templates and JavaScript", list(filter(is_counted, counted)))
    pydoc.pager("\n".join([*shown, heading(row("All lines above", counted), budget)]))
    sys.stdout.flush()
    return 0
