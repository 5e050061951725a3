"""`make drift`: find each place where the steps and the manifest disagree.

`make drift ACCEPT=1` writes `files.toml`: the files that each step adds, changes and removes. A
reviewer reads each wanted change there, and `make drift` reports every other change. A file
outside these lists is the same in both steps, byte for byte, and in its executable bit.
"""

import fnmatch
import json
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from course.core.manifest import (
    INTERIM,
    NAME,
    README,
    TEST_FILE,
    Entry,
    Midpoint,
    chain,
    difference,
    load,
    missing,
    read_step,
)
from course.core.steps import ROOT, Step, all_steps, list_folder
from course.core.terminal import UserError, colour, say

FILES = "course/files.toml"
# The words of files.toml, and those for a sentence.
VERBS = {"adds": "is new", "changes": "is changed", "removes": "is gone"}
HEAD = "# The files that each step adds, changes and removes. Made by `make drift ACCEPT=1`.\n\n"


def compare_steps(root: Path) -> dict[str, str]:
    """Return `adds`, `changes` or `removes` by place, as in files.toml, from the folders."""
    return {
        f"{after.label}/{path}": verb
        for before, after in pairwise(map(read_step, all_steps(root)))
        for path, verb in difference(before, after).items()
    }


def accept(root: Path) -> None:
    """Write files.toml from the folders."""
    rows = [f'{json.dumps(place)} = "{verb}"\n' for place, verb in compare_steps(root).items()]
    (root / FILES).write_text(HEAD + "".join(rows), "utf-8", newline="\n")


def list_problems(root: Path) -> Iterator[str]:
    """Yield a message for each file that files.toml lists wrongly."""
    try:
        listed = tomllib.loads((root / FILES).read_text("utf-8"))
    except (OSError, ValueError) as error:
        yield f"{FILES} cannot be read: {error}."
        return
    found, same = compare_steps(root), "is the same as in the step before"
    for place in sorted(found.keys() | listed.keys()):
        now, then = (VERBS.get(str(rows.get(place)), same) for rows in (found, listed))
        if now != then:
            yield f"{place} {now}, but {FILES} says that it {then}."


def blank_problems(steps: list[Step]) -> Iterator[str]:
    """Yield a message for each file that differs from the step before by nothing but whitespace."""
    for before, after in pairwise(map(read_step, steps)):
        for path in sorted(before.files.keys() & after.files.keys()):
            one, two = before.text(path), after.text(path)
            if one != two and b"".join(one.split()) == b"".join(two.split()):
                yield (
                    f"{after.label}/{path} differs from {before.label} by nothing but "
                    f"whitespace: make both files the same."
                )


def interim_problems(entries: list[Entry], root: Path) -> Iterator[str]:
    """Yield a message for each interim file that is missing, or that no part names."""
    asked = {place: path for each in entries for (_, path), place in each.interims().items()}
    for place, path in asked.items():
        if not (root / place).is_file():
            yield missing(place, path)
    there = list_folder(root / INTERIM) if (root / INTERIM).is_dir() else []
    for place in (f"{INTERIM}/{path.as_posix()}" for path in there):
        if place not in asked:
            yield f"{place} is asked for by no part in {NAME}: delete it, or name it in a part."


def part_problems(entry: Entry, points: list[Midpoint], step: Step) -> Iterator[str]:
    """Yield a message for each mistake in the parts of a step; `points` is its chain."""
    if not entry.parts:
        yield f"{NAME}: {entry.label} has no part: it needs one [[step.part]] at least."
    for part, (before, after) in zip(entry.parts, pairwise(points), strict=True):
        changed = difference(before, after)
        for path in part.files:
            if path == README:
                yield f"{NAME}: {after.label} names {README}, which belongs to no part."
            elif path not in changed:
                yield (
                    f"{NAME}: {after.label} names {path}, but does not change this file: "
                    f"{before.label} has the same file, or neither has the file."
                )
    for path, verb in difference(points[-1], read_step(step)).items():
        if path != README:
            yield (
                f"{entry.label}/{path} {VERBS[verb]}, but in no part: make it as it is in "
                f"{points[0].label}, or name it in a [[step.part]] of {entry.label} in {NAME}."
            )


def tests_of(point: Midpoint) -> set[str]:
    """Return the files of tests of a mid-point, and their tests."""
    files = fnmatch.filter(point.files, TEST_FILE)
    return {*files, *(f"{file}::{test}" for file in files for test in point.tests(file))}


def test_problems(entry: Entry, points: list[Midpoint]) -> Iterator[str]:
    """Yield a message for each test that is gone without a reason, or retired by mistake."""
    tests, retired = list(map(tests_of, points)), set[str]()
    for before, after, point in zip(tests, tests[1:], points[1:], strict=False):
        gone = before - after
        retired |= gone
        for name in sorted(gone - entry.retires.keys()):
            # The name of a file stands for all its tests.
            file = name.partition("::")[0]
            if file == name or file not in gone:
                yield (
                    f"{name} is gone from {point.label}: bring the test back, or give the "
                    f'reason under retires of {entry.label} in {NAME}, as "{name}".'
                )
    for name, reason in entry.retires.items():
        if name not in retired:
            yield f"{NAME}: {entry.label} retires {name}, which is still there, or never was."
        if not reason.strip():
            yield f"{NAME}: {entry.label} retires {name} without a reason."


def problems(root: Path = ROOT) -> list[str]:
    """Return a message for each place where the manifest and the steps disagree.

    Raises UserError if the manifest itself is wrong.
    """
    entries, steps = load(root), all_steps(root)
    found = [*list_problems(root), *blank_problems(steps), *interim_problems(entries, root)]
    if entries and (entries[0].retires or entries[0].parts):
        found.append(f"{NAME}: {entries[0].label} is the first step, so no part can change it.")
    for entry, step in list(zip(entries, steps, strict=True))[1:]:
        try:
            points = chain(step, root)
            found += part_problems(entry, points, step)
            found += test_problems(entry, points)
        except UserError as error:  # An interim file is missing, or a file is no Python.
            found.append(str(error))
    # A step is in its own chain and at the start of the next, so a message may come twice.
    return list(dict.fromkeys(found))


def drift(accepted: bool = False, root: Path = ROOT) -> int:
    """Check the steps against the manifest and print each problem; return the exit code.

    If `accepted`, first write files.toml from the folders.
    """
    if accepted:
        accept(root)
    found = problems(root)
    for text in found:
        say(text)
    if found:
        closing = f"The steps and {NAME} disagree: see above."
        if any(FILES in text for text in found):
            closing += f" make drift ACCEPT=1 writes {FILES} from the folders."
        print(colour(closing, "red", sys.stderr), file=sys.stderr)
        return 1
    say(f"The {len(all_steps(root))} steps differ only where {FILES} says so.")
    return 0
