"""`make diff`: what one step changes against another, without what no reader needs.

Where the manifest gives a step parts, the changed files come part by part, in its order.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

from course import manifest
from course.kinds import KINDS, is_noise, kind_of
from course.processes import undisturbed
from course.results import paragraph
from course.steps import ROOT, Step, all_steps, copy_files, find_step, step_files
from course.terminal import UserError, colour, is_terminal, wants_colour

COUNTED = ("Python", "templates", "JavaScript")

# Settings of the reader's own git that would change what a class sees.
GIT = (
    "git", "-c", "core.quotePath=false", "-c", "core.autocrlf=false", "-c", "core.safecrlf=false",
)  # fmt: skip
# How a coloured line begins: `yellow bold` is written as \033[1;33m.
COLOURS = r"^(?:\033\[[\d;]*m)*"
# The line of hashes that git puts above each file, coloured or not.
HASHES = re.compile(COLOURS + r"index [0-9a-f]+\.\..*\n", re.MULTILINE)
# Where the next file begins: lines of the files themselves begin with a blank, + or -.
FILES = re.compile(rf"(?={COLOURS}diff --git )", re.MULTILINE)
# Hunk headers that name the class or function, as far as git knows the language.
ATTRIBUTES = "*.py diff=python\n*.html diff=html\n*.css diff=css\n"


@dataclass(frozen=True)
class Change:
    """How many lines a file gained and lost; its path inside the later step, or the former."""

    path: PurePosixPath
    added: int
    removed: int


def lay_out(steps: tuple[Step, Step], folder: Path) -> tuple[Path, Path]:
    """Copy the files of both steps to `folder`; return where code and where noise lies."""
    code, noise = folder / "code", folder / "noise"
    for step in steps:
        files = step_files(step.folder)
        quiet = [file for file in files if is_noise(PurePosixPath(file.as_posix()))]
        for place, chosen in ((code, set(files) - set(quiet)), (noise, quiet)):
            (place / step.label).mkdir(parents=True)
            copy_files(sorted(chosen), step.folder, place / step.label)
    return code, noise


def git_diff(place: Path, steps: tuple[Step, Step], *options: str) -> str:
    """Return the output of `git diff` between the two steps copied to `place`."""
    attributes = place.parent / "attributes"
    attributes.write_text(ATTRIBUTES, "utf-8")
    command = [
        *GIT, "-c", f"core.attributesFile={attributes}", "diff", "--no-index", "-M",
        "--no-ext-diff", "--no-prefix", "--diff-algorithm=histogram", *options,
        steps[0].label, steps[1].label,
    ]  # fmt: skip
    # A file in another encoding is shown as far as it can be read.
    done = subprocess.run(
        command, cwd=place, capture_output=True, encoding="utf-8", errors="replace"
    )
    # git diff ends with 1 where there are differences, with more where it failed.
    if done.returncode > 1:
        raise UserError(f"git could not compare the steps: {done.stderr.strip()}")
    return done.stdout


def count(place: Path, steps: tuple[Step, Step]) -> list[Change]:
    """Return the changed files of the two steps copied to `place`, with their lines."""
    fields = iter(git_diff(place, steps, "--numstat", "-z").split("\0"))
    changes = []
    for entry in fields:
        if not entry:
            continue
        (
            added,
            removed,
            _,
        ) = entry.split("\t")
        # With -z a pair of names follows; a file that came or went has no name on one side.
        before, after = next(fields), next(fields)
        path = PurePosixPath(before if after == "/dev/null" else after)
        # A binary file has "-" for its lines.
        lines = [0 if number == "-" else int(number) for number in (added, removed)]
        changes.append(Change(PurePosixPath(*path.parts[1:]), *lines))
    return changes


def parts_between(steps: tuple[Step, Step], root: Path) -> dict[str, tuple[str, ...]]:
    """Return the files of each part in which to read what the second step changes in the first.

    There are none if the manifest names none, or the second does not follow upon the first.
    """
    if steps not in pairwise(all_steps(root)):
        return {}
    entries = manifest.read_entries(root)
    return next((entry.parts for entry in entries if entry.label == steps[1].label), {})


def check_part(wanted: str, parts: dict[str, tuple[str, ...]], steps: tuple[Step, Step]) -> int:
    """Return the number of the part that was asked for; UserError if there is no such part."""
    if not parts:
        raise UserError(
            f"From {steps[0].label} to {steps[1].label} there are no parts: leave out PART."
        )
    if wanted.isdecimal() and 1 <= int(wanted) <= len(parts):
        return int(wanted)
    named = ", ".join(f"{number} ({name})" for number, name in enumerate(parts, 1))
    raise UserError(f"There is no part {wanted}; the parts are {named}.")


def lines_of(changes: list[Change]) -> tuple[int, int]:
    """Return how many lines the changes add and remove together."""
    return sum(c.added for c in changes), sum(c.removed for c in changes)


def heading(title: str, changes: list[Change]) -> str:
    """Return the lines that stand above the changes of one part."""
    added, removed = lines_of(changes)
    text = f"{title:<42}{f'+{added}':>8}{f'−{removed}':>9}"
    # Line by line: a pager forgets the colour at the end of each.
    return "".join(f"{colour(line, 'bold')}\n" for line in ("=" * 59, text, "=" * 59))


def in_parts(
    texts: dict[Change, str], parts: dict[str, tuple[str, ...]], only: int | None
) -> dict[Change, str]:
    """Return the diffs of the files part by part, the first of each under the part's heading.

    With `only`, the number of a part, there is nothing but that. A file that the manifest has
    not heard of yet comes last.
    """
    by_path = {change.path.as_posix(): change for change in texts}
    sorted_out = {path for files in parts.values() for path in files}
    groups = {
        f"Part {number} of {len(parts)}: {name}": [
            by_path[path] for path in files if path in by_path
        ]
        for number, (name, files) in enumerate(parts.items(), 1)
        if only in (number, None)
    }
    if only is None:
        groups["In no part yet"] = [by_path[path] for path in by_path if path not in sorted_out]
    ordered: dict[Change, str] = {}
    for title, changes in groups.items():
        for change in changes:
            gap = "\n" if ordered else ""
            above = gap + heading(title, changes) if change == changes[0] else ""
            ordered[change] = above + texts[change]
    return ordered


def is_of_part(path: PurePosixPath, files: tuple[str, ...]) -> bool:
    """Tell whether a file that is left out belongs to a part: a migration is of its models."""
    models = path.parent.parent / "models.py"
    return path.parent.name == "migrations" and models.as_posix() in files


def noise_line(changes: list[Change]) -> str:
    """Return the closing line that names what was left out, with its lines."""
    if not changes:
        return ""
    named = ", ".join(f"{c.path} +{c.added} −{c.removed}" for c in changes)
    return "\n".join(paragraph(f"Left out above: {named}", ""))


def table(changes: list[Change]) -> str:
    """Return the lines added and removed for each kind of file, and the total that counts."""

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
    """Print `text`, on a terminal through the pager that git would use."""
    if is_terminal(sys.stdout):
        pager = subprocess.run(["git", "var", "GIT_PAGER"], capture_output=True, text=True)
        words = shlex.split(pager.stdout)
        if words and words[0] != "cat" and shutil.which(words[0]):
            env = {"LESS": "FRX", "LV": "-c"} | dict(os.environ)
            with undisturbed():  # In a pager Ctrl-C is a key like others.
                subprocess.run(words, input=text, encoding="utf-8", env=env)
            return
    sys.stdout.write(text)
    sys.stdout.flush()


def show(first: str, second: str, part: str | None = None, root: Path = ROOT) -> int:
    """Show the difference between two steps and count its lines; return the exit code.

    With `part`, the number of a part, only this part is shown and counted, with the migrations
    of its models.
    """
    steps = find_step(first, root), find_step(second, root)
    if steps[0] == steps[1]:
        raise UserError(f"{steps[0].label} against itself shows nothing: name two steps.")
    parts = parts_between(steps, root)
    only = None if part is None else check_part(part, parts, steps)
    if not shutil.which("git"):
        raise UserError("make diff needs git: install it, and run the command again.")
    with tempfile.TemporaryDirectory() as folder:
        code, noise = lay_out(steps, Path(folder))
        colours = "always" if wants_colour(sys.stdout) else "never"
        text = HASHES.sub("", git_diff(code, steps, f"--color={colours}"))
        texts = dict(zip(count(code, steps), FILES.split(text)[1:], strict=True))
        left_out = count(noise, steps)
    if only:
        files = [*parts.values()][only - 1]
        left_out = [change for change in left_out if is_of_part(change.path, files)]
    if parts:
        texts = in_parts(texts, parts, only)
    closing = [noise_line(left_out), table([*texts, *left_out])]
    page("".join(texts.values()) + "".join(f"\n{part}\n" for part in closing if part))
    return 0
