"""`make diff`: show the differences between two steps, without files that explain nothing.

Between a step and the next one, the diff goes part by part: each mid-point against the mid-point
before. The files come in the order in which the manifest names them.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path, PurePosixPath

from course.core.kinds import KINDS, is_noise, kind_of
from course.core.manifest import Midpoint, chain, difference, load, read_step
from course.core.parts import find_midpoint
from course.core.processes import undisturbed
from course.core.steps import ROOT, Step, all_steps, find_step
from course.core.terminal import UserError, colour, is_terminal, wants_colour
from course.learn.results import paragraph

COUNTED = ("Python", "templates", "JavaScript")

# Override the settings of the reader's own git that would change the diff.
GIT = (
    "git", "-c", "core.quotePath=false", "-c", "core.autocrlf=false", "-c", "core.safecrlf=false",
)  # fmt: skip
# How a coloured line begins: `yellow bold` is written as \033[1;33m.
COLOURS = r"^(?:\033\[[\d;]*m)*"
# The line of hashes above each file, coloured or not.
HASHES = re.compile(COLOURS + r"index [0-9a-f]+\.\..*\n", re.MULTILINE)
# The beginning of the next file. Lines of a file begin with a blank, + or -.
FILES = re.compile(rf"(?={COLOURS}diff --git )", re.MULTILINE)
# For these languages, git names the class or function in the header of a hunk.
ATTRIBUTES = "*.py diff=python\n*.html diff=html\n*.css diff=css\n"


@dataclass(frozen=True)
class Change:
    """The lines that a file gained and lost, and its path in the later step, or the earlier one."""

    path: PurePosixPath
    added: int
    removed: int


@dataclass(frozen=True)
class Section:
    """Two mid-points to compare under one title; `files` is the order of the files."""

    title: str
    before: Midpoint
    after: Midpoint
    files: tuple[str, ...] = ()


def git_diff(place: Path, labels: tuple[str, str], *options: str) -> str:
    """Return the output of `git diff` between the two folders `labels` in `place`.

    Raises UserError if git fails.
    """
    attributes = place.parent / "attributes"
    attributes.write_text(ATTRIBUTES, "utf-8")
    command = [
        *GIT, "-c", f"core.attributesFile={attributes}", "diff", "--no-index", "-M",
        "--no-ext-diff", "--no-prefix", "--diff-algorithm=histogram", *options,
        *labels,
    ]  # fmt: skip
    # A file in another encoding is shown with replacement characters.
    done = subprocess.run(
        command, cwd=place, capture_output=True, encoding="utf-8", errors="replace"
    )
    # The exit code is 1 if there are differences, and greater if git failed.
    if done.returncode > 1:
        raise UserError(f"git could not compare the steps: {done.stderr.strip()}")
    return done.stdout


def count(place: Path, labels: tuple[str, str]) -> list[Change]:
    """Return the number of changed lines of each file that differs in two folders in `place`."""
    fields = iter(git_diff(place, labels, "--numstat", "-z").split("\0"))
    changes = []
    for entry in fields:
        if not entry:
            continue
        added, removed, _ = entry.split("\t")
        # With -z, both names follow; git writes /dev/null for the missing side of a file.
        before, after = next(fields), next(fields)
        path = PurePosixPath(before if after == "/dev/null" else after)
        # Git writes "-" for the lines of a binary file.
        lines = [0 if number == "-" else int(number) for number in (added, removed)]
        changes.append(Change(PurePosixPath(*path.parts[1:]), *lines))
    return changes


def sections(steps: tuple[Step, Step], wanted: str | None, root: Path) -> list[Section]:
    """Return the sections of a diff: one for each part, if the steps follow each other.

    If `wanted` is the number of a part, return that section alone. Raises UserError if there is
    no such part.
    """
    following = steps in pairwise(all_steps(root))
    entries = load(root) if following else []
    parts = [part for entry in entries if entry.label == steps[1].label for part in entry.parts]
    if not parts:
        if wanted is not None:
            raise UserError(
                f"From {steps[0].label} to {steps[1].label} there are no parts: leave out PART."
            )
        return [Section("", read_step(steps[0]), read_step(steps[1]))]
    # The folder replaces the last mid-point, so a maintainer also sees files that no part names.
    points = [*chain(steps[1], root)[:-1], read_step(steps[1])]
    found = [
        Section(f"Part {number} of {len(parts)}: {part.name}", before, after, part.files)
        for number, (part, (before, after)) in enumerate(
            zip(parts, pairwise(points), strict=True), 1
        )
    ]
    return found if wanted is None else [found[find_midpoint(steps[1], wanted, root).number - 1]]


def compare(
    section: Section, only: str | None, folder: Path
) -> tuple[dict[Change, str], list[Change]]:
    """Return the diff of each file, in the section's order, and the files left out as noise.

    If `only` is the path of a file, return that file alone, even if it is noise. The files are
    copied to `folder`.
    """
    labels = section.before.label, section.after.label
    code, noise = folder / "code", folder / "noise"
    for place, label in product((code, noise), labels):
        (place / label).mkdir(parents=True)
    for path in difference(section.before, section.after):
        place = noise if is_noise(PurePosixPath(path)) and not only else code
        for label, side in zip(labels, (section.before, section.after), strict=True):
            if path in side.files and only in (path, None):
                (place / label / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(side.files[path], place / label / path)
    colours = "always" if wants_colour(sys.stdout) else "never"
    text = HASHES.sub("", git_diff(code, labels, f"--color={colours}"))
    texts = dict(zip(count(code, labels), FILES.split(text)[1:], strict=True))
    told = {path: number for number, path in enumerate(section.files)}
    ordered = sorted(texts, key=lambda change: told.get(change.path.as_posix(), len(told)))
    return {change: texts[change] for change in ordered}, count(noise, labels)


def lines_of(changes: list[Change]) -> tuple[int, int]:
    """Return the sums of the added and the removed lines."""
    return sum(c.added for c in changes), sum(c.removed for c in changes)


def heading(title: str, changes: list[Change]) -> str:
    """Return the heading of one part, with the sums of its lines."""
    added, removed = lines_of(changes)
    text = f"{title:<42}{f'+{added}':>8}{f'−{removed}':>9}"
    # Colour each line by itself: a pager resets the colour at the end of a line.
    return "".join(f"{colour(line, 'bold')}\n" for line in ("=" * 59, text, "=" * 59))


def noise_line(changes: list[Change]) -> str:
    """Return the text that names the files left out, each with its number of lines."""
    named = ", ".join(f"{c.path} +{c.added} −{c.removed}" for c in changes)
    return "\n".join(paragraph(f"Left out above: {named}", ""))


def table(changes: list[Change]) -> str:
    """Return the table of added and removed lines: each kind of file, and the budget."""

    def row(name: str, chosen: list[Change], style: str = "") -> str:
        added, removed = lines_of(chosen)
        text = f"{name:<42}{added:>8}{removed:>9}"
        return colour(text, style) if style else text

    by_kind = {kind: [c for c in changes if kind_of(c.path) == kind] for kind in KINDS}
    lines = [colour(f"{'kind':<42}{'added':>8}{'removed':>9}", "bold")]
    lines += [row(kind, chosen) for kind, chosen in by_kind.items() if chosen]
    lines.append("-" * 59)
    counted = [change for kind in COUNTED for change in by_kind[kind]]
    lines.append(row(f"budget ({', '.join(COUNTED)})", counted, "bold"))
    return "\n".join(lines)


def page(text: str) -> None:
    """Print `text`; on a terminal, use the pager that git would use."""
    if is_terminal(sys.stdout):
        pager = subprocess.run(["git", "var", "GIT_PAGER"], capture_output=True, text=True)
        words = shlex.split(pager.stdout)
        if words and words[0] != "cat" and shutil.which(words[0]):
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
    the step: show and count that file alone. Raises UserError for a wrong step, part or file.
    """
    steps = find_step(first, root), find_step(second, root)
    if steps[0] == steps[1]:
        raise UserError(f"{steps[0].label} against itself shows nothing: name two different steps.")
    found = sections(steps, part, root)
    if not shutil.which("git"):
        raise UserError("make diff needs git: install it, and run the command again.")
    shown, counted = list[str](), list[Change]()
    with tempfile.TemporaryDirectory() as folder:
        for number, section in enumerate(found):
            texts, left_out = compare(section, only, Path(folder, str(number)))
            if texts or left_out:
                title = heading(section.title, list(texts)) if section.title else ""
                closing = f"\n{noise_line(left_out)}\n" if left_out else ""
                shown.append(title + "".join(texts.values()) + closing)
                counted += [*texts, *left_out]
    if only and not counted:
        raise UserError(f"{only} does not change there: name a path such as chat/consumers.py.")
    page("\n".join(shown) + f"\n{table(counted)}\n")
    return 0
