"""`make diff`: show the differences between two steps, without files that explain nothing.

Between a step and the next one, the diff goes part by part: each mid-point against the mid-point
before. Git compares the mid-points in a repository of their own, in a temporary folder.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from course.core.kinds import KINDS, NOISE, is_noise, kind_of
from course.core.manifest import Midpoint, chain, load, read_step
from course.core.parts import find_midpoint
from course.core.processes import undisturbed
from course.core.steps import ROOT, Step, all_steps, find_step
from course.core.terminal import UserError, colour, is_terminal, wants_colour
from course.learn.results import paragraph

COUNTED = ("Python", "templates", "JavaScript")
# The line of hashes above each file; it may begin with a colour.
HASHES = re.compile(r"^(?:\033\[[\d;]*m)*index [0-9a-f]+\.\..*\n", re.MULTILINE)
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
    files: tuple[str, ...]


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
        return [Section("", read_step(steps[0]), read_step(steps[1]), ())]
    # The folder replaces the last mid-point, so a maintainer also sees files that no part names.
    points = [*chain(steps[1], root)[:-1], read_step(steps[1])]
    found = [
        Section(f"Part {n} of {len(parts)}: {part.name}", points[n - 1], points[n], part.files)
        for n, part in enumerate(parts, 1)
    ]
    return found if wanted is None else [found[find_midpoint(steps[1], wanted, root).number - 1]]


def git(repository: Path, *arguments: str, stdin: bytes = b"") -> str:
    """Return the output of a git command in a bare repository; raise UserError if git fails.

    A byte that is no UTF-8 becomes a replacement character.
    """
    command = ["git", f"--git-dir={repository}", "-c", "core.quotePath=false", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True)
    if done.returncode:
        raise UserError(f"git could not compare the steps: {done.stderr.decode(errors='replace')}")
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


def compare(section: Section, only: str | None, repository: Path) -> tuple[str, list[Change]]:
    """Return the diff without noise, in the section's order, and the changes of all files.

    If `only` is the path of a file, return that file alone, even if the file is noise.
    """
    before, after = section.before.label, section.after.label
    order = repository / "order"
    order.write_text("\n".join(section.files), "utf-8")
    # These options override the settings of the reader's own git that would change the diff.
    fixed = ("diff", "-M", "--no-ext-diff", "--diff-algorithm=histogram", f"-O{order}")
    prefixes = (f"--src-prefix={before}/", f"--dst-prefix={after}/")
    colours = f"--color={'always' if wants_colour(sys.stdout) else 'never'}"
    paths = [f":(literal){only}"] if only else []
    counts = git(repository, *fixed, "--numstat", "-z", before, after, "--", *paths)
    paths = paths or [f":(exclude){pattern}" for pattern in NOISE]
    text = git(repository, *fixed, *prefixes, colours, before, after, "--", *paths)
    changes = []
    fields = iter(counts.split("\0")[:-1])
    for field in fields:
        added, removed, path = field.split("\t")
        if not path:  # a rename: both names follow
            _, path = next(fields), next(fields)
        # Git writes "-" for the lines of a binary file.
        changes.append(Change(path, int(added.strip("-") or 0), int(removed.strip("-") or 0)))
    return HASHES.sub("", text), changes


def lines_of(changes: list[Change]) -> tuple[int, int]:
    """Return the sums of the added and the removed lines."""
    return sum(change.added for change in changes), sum(change.removed for change in changes)


def heading(title: str, changes: list[Change]) -> str:
    """Return the heading of one part, with the sums of its lines."""
    added, removed = lines_of(changes)
    text = f"{title:<42}{f'+{added}':>8}{f'−{removed}':>9}"
    # Colour each line by itself: a pager resets the colour at the end of a line.
    return "".join(f"{colour(line, 'bold')}\n" for line in ("=" * 59, text, "=" * 59))


def table(changes: list[Change]) -> str:
    """Return the table of added and removed lines: each kind of file, and the budget."""

    def row(name: str, *kinds: str) -> str:
        added, removed = lines_of([change for change in changes if kind_of(change.path) in kinds])
        return f"{name:<42}{added:>8}{removed:>9}"

    there = {kind_of(change.path) for change in changes}
    lines = [colour(f"{'kind':<42}{'added':>8}{'removed':>9}", "bold")]
    lines += [row(kind, kind) for kind in KINDS if kind in there]
    lines += ["-" * 59, colour(row(f"budget ({', '.join(COUNTED)})", *COUNTED), "bold")]
    return "\n".join(lines)


def page(text: str) -> None:
    """Print `text`; on a terminal, use the pager that git would use."""
    if is_terminal(sys.stdout):
        pager = subprocess.run(["git", "var", "GIT_PAGER"], capture_output=True, text=True)
        words = shlex.split(pager.stdout)
        if words and shutil.which(words[0]):
            env = {"LESS": "FRX", "LV": "-c"} | dict(os.environ)
            with undisturbed():  # Pagers handle Ctrl-C themselves.
                subprocess.run(words, input=text, encoding="utf-8", env=env)
            return
    sys.stdout.write(text)
    sys.stdout.flush()


def show(
    first: str, second: str, part: str | None = None, only: str | None = None, root: Path = ROOT
) -> int:
    """Show the differences between two steps and count the lines; return the exit code.

    `part` is the number of a part: show and count that part alone. `only` is the path of a file in
    the step: show and count that file alone, even if the file is noise. Raises UserError for a
    wrong step, part or file.
    """
    steps = find_step(first, root), find_step(second, root)
    if steps[0] == steps[1]:
        raise UserError(f"{steps[0].label} against itself shows nothing: name two different steps.")
    found = sections(steps, part, root)
    if not shutil.which("git"):
        raise UserError("make diff needs git: install it, and run the command again.")
    shown, counted = list[str](), list[Change]()
    with tempfile.TemporaryDirectory() as folder:
        store(found, Path(folder))
        for section in found:
            text, changes = compare(section, only, Path(folder))
            noise = [change for change in changes if is_noise(change.path) and not only]
            if section.title and changes:
                text = heading(section.title, [c for c in changes if c not in noise]) + text
            if noise:
                named = ", ".join(f"{c.path} +{c.added} −{c.removed}" for c in noise)
                text += "\n".join(["", *paragraph(f"Left out above: {named}", ""), ""])
            shown += [text] if text else []
            counted += changes
    if only and not counted:
        raise UserError(f"{only} does not change there: name a path such as chat/consumers.py.")
    page("\n".join(shown) + f"\n{table(counted)}\n")
    return 0
