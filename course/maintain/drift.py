"""`make drift`: find each place where the steps and the manifest disagree.

A file that no part names is the same in both steps, byte for byte, and in its executable bit.
"""

import fnmatch
import sys
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
    read_step,
)
from course.core.steps import ROOT, Step, all_steps, list_folder
from course.core.terminal import colour, say

VERBS = {"adds": "is new", "changes": "is changed", "removes": "is gone"}


def interim_problems(entries: list[Entry], root: Path) -> Iterator[str]:
    """Yield a message for each interim file that no part names."""
    asked = {place for entry in entries for place in entry.interims().values()}
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
    tests, retired = [tests_of(point) for point in points], set[str]()
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

    Raises UserError if the manifest itself is wrong, an interim file is missing, or a file of tests
    is no Python.
    """
    entries = load(root)
    found = list(interim_problems(entries, root))
    if entries and (entries[0].retires or entries[0].parts):
        found.append(f"{NAME}: {entries[0].label} is the first step, so no part can change it.")
    for entry, step in list(zip(entries, all_steps(root), strict=True))[1:]:
        points = chain(step, root)
        found += [*part_problems(entry, points, step), *test_problems(entry, points)]
    return found


def drift(root: Path = ROOT) -> int:
    """Check the steps against the manifest and print each problem; return the exit code."""
    found = problems(root)
    for text in found:
        say(text)
    if found:
        closing = f"The steps and {NAME} disagree: see above."
        if any("is changed" in text for text in found):
            closing += " `git diff --no-index` shows how two files differ."
        print(colour(closing, "red", sys.stderr), file=sys.stderr)
        return 1
    say(f"The {len(all_steps(root))} steps differ only where {NAME} says so.")
    return 0
