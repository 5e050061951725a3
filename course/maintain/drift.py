"""`make drift`: find each place where the steps and the manifest disagree.

`make drift ACCEPT=1` writes `files.toml`: the files that each step adds, changes and removes. A
reviewer reads each wanted change there, and `make drift` reports every other change. A file
outside these lists is the same in both steps, byte for byte, and in its executable bit.
"""

import fnmatch
import json
import sys
from collections.abc import Iterator
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

from course.core.manifest import (
    INTERIM,
    NAME,
    README,
    TEST_FILE,
    Entry,
    Midpoint,
    chain,
    changed_tests,
    difference,
    load,
    missing,
    read_step,
    read_toml,
)
from course.core.steps import ROOT, all_steps, list_folder
from course.core.terminal import colour, say

FILES = "course/files.toml"
# The lists of files.toml, and the words for them in a sentence.
LISTS = {"adds": "is new", "changes": "is changed", "removes": "is gone"}
HEAD = "# The files that each step adds, changes and removes. Made by `make drift ACCEPT=1`.\n"


def first_difference(before: bytes, after: bytes) -> str:
    """Return the place of the first difference, such as ` from line 3 on`; "" for binary files."""
    if before == after:
        return " by its executable bit"
    if b"\0" in before + after:
        return ""
    if before.replace(b"\r\n", b"\n") == after.replace(b"\r\n", b"\n"):
        return " by its line ends (CRLF and LF)"
    lines = zip(before.split(b"\n"), after.split(b"\n"), strict=False)
    same = list(takewhile(lambda pair: pair[0] == pair[1], lines))
    return f" from line {len(same) + 1} on"


def link_problems(root: Path) -> Iterator[str]:
    """Yield a message for each symbolic link: a copy of the step would break the link."""
    for folder in (*(step.folder for step in all_steps(root)), root / INTERIM):
        for path in list_folder(folder) if folder.is_dir() else []:
            if (folder / path).is_symlink():
                yield (
                    f"{(folder / path).relative_to(root).as_posix()} is a symbolic link: put the "
                    f"file itself there, so that a copy of the step has the file."
                )


def list_problems(lists: dict[str, Any], before: Midpoint, after: Midpoint) -> Iterator[str]:
    """Yield a message for each file that files.toml lists wrongly, or that has no real change.

    `lists` has the three lists of the step `after`.
    """
    now = difference(before, after)
    then = {path: key for key in LISTS for path in lists.get(key, [])}
    same = f"is the same as in {before.label}"
    for path in sorted(now.keys() | then.keys()):
        verb, where, is_blank = now.get(path, ""), "", False
        if verb == "changes":
            one, two = before.text(path), after.text(path)
            where = first_difference(one, two)
            is_blank = "line" in where and b"".join(one.split()) == b"".join(two.split())
        if verb != then.get(path, ""):
            yield (
                f"{after.label}/{path} {LISTS.get(verb, same)}{where}, "
                f"but {FILES} says that it {LISTS.get(then.get(path, ''), same)}."
            )
        if is_blank:
            yield (
                f"{after.label}/{path} differs from {before.label} by nothing but "
                f"whitespace,{where}: make both files the same."
            )


def interim_problems(entries: list[Entry], root: Path) -> Iterator[str]:
    """Yield a message for each interim file that is missing, or that no part names."""
    asked = {place: path for each in entries for (_, path), place in each.interims().items()}
    there = list_folder(root / INTERIM) if (root / INTERIM).is_dir() else []
    found = {f"{INTERIM}/{path.as_posix()}" for path in there if (root / INTERIM / path).is_file()}
    yield from (missing(place, asked[place]) for place in sorted(asked.keys() - found))
    for place in sorted(found - asked.keys()):
        yield f"{place} is asked for by no part in {NAME}: delete this file, or name it in a part."


def part_problems(entry: Entry, points: list[Midpoint], step: Midpoint) -> Iterator[str]:
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
    for path in difference(points[-1], step):
        if path != README:
            yield (
                f"{entry.label}/{path} is in no part: name this file in a [[step.part]] of "
                f"{entry.label} in {NAME}."
            )


def broken_tests(chains: list[list[Midpoint]]) -> Iterator[str]:
    """Yield a message for each file of tests in the chains that is no valid Python."""
    points = [point for points in chains for point in points]
    files = {at.place(p): (at, p) for at in points for p in fnmatch.filter(at.files, TEST_FILE)}
    for place, (point, path) in files.items():
        try:
            point.tests(path)
        except (SyntaxError, ValueError) as error:
            yield f"{place} is no valid Python: {error}."


def retired_problems(entry: Entry, points: list[Midpoint]) -> Iterator[str]:
    """Yield a message for each mistake in the retired tests of an entry."""
    for name, reason in entry.retires.items():
        path, _, test = name.partition("::")
        *earlier, there = (test in at.tests(path) if test else path in at.files for at in points)
        if not fnmatch.fnmatchcase(path, TEST_FILE):
            yield f"{NAME}: {entry.label} retires {name}, which is no {TEST_FILE}."
        elif there:
            yield f"{NAME} says that {entry.label} retires {name}, but this test is still there."
        elif not any(earlier):
            yield f"{NAME} says that {entry.label} retires {name}, which was never there."
        if not reason.strip():
            yield f"{NAME}: {entry.label} retires {name} without a reason."


def lost_tests(entry: Entry, points: list[Midpoint]) -> Iterator[str]:
    """Yield a message for each test that disappears between two mid-points and is not retired."""
    for before, after in pairwise(points):
        for path in changed_tests(before, after):
            if path in entry.retires:
                continue
            if path not in after.files:
                yield (
                    f"{before.place(path)} is gone from {after.label}: "
                    f"give the reason, under retires of {entry.label} in {NAME}."
                )
                continue
            for test in sorted(before.tests(path) - after.tests(path)):
                if f"{path}::{test}" not in entry.retires:
                    yield (
                        f"{test} is gone from {after.place(path)}: bring the test back, "
                        f'or give the reason under retires in {NAME}, as "{path}::{test}".'
                    )


def problems_of_tests(entries: list[Entry], chains: list[list[Midpoint]]) -> list[str]:
    """Return a message for each unreadable or lost test in the chains of steps."""
    if found := list(broken_tests(chains)):
        return found
    for entry, points in zip(entries[1:], chains[1:], strict=True):
        found += [*retired_problems(entry, points), *lost_tests(entry, points)]
    return found


def problems(root: Path = ROOT) -> list[str]:
    """Return a message for each place where the manifest and the steps disagree.

    Raises UserError if the manifest itself is wrong.
    """
    entries, steps = load(root), all_steps(root)
    found = list(link_problems(root))
    if entries and (entries[0].retires or entries[0].parts):
        found.append(f"{NAME}: {entries[0].label} is the first step, so no part can change it.")
    folders = [read_step(step) for step in steps]
    listed = read_toml(FILES, root) if (root / FILES).exists() else {}
    for label in sorted(listed.keys() - {folder.label for folder in folders[1:]}):
        found.append(f"{FILES} has lists for {label}, which is no later step.")
    for entry, (before, after) in zip(entries[1:], pairwise(folders), strict=True):
        found += list_problems(listed.get(entry.label, {}), before, after)
    if wrong := list(interim_problems(entries, root)):
        return found + wrong
    chains = [chain(step, root) for step in steps]
    for entry, points, folder in zip(entries[1:], chains[1:], folders[1:], strict=True):
        found += part_problems(entry, points, folder)
    return found + problems_of_tests(entries, chains)


def accept(root: Path) -> None:
    """Write files.toml from the folders."""
    lines = [HEAD]
    for before, after in pairwise(map(read_step, all_steps(root))):
        found = difference(before, after)
        lines.append(f"[{after.label}]")
        for key in LISTS:
            paths = [json.dumps(path, ensure_ascii=False) for path in found if found[path] == key]
            inner = "".join(f"  {path},\n" for path in paths)
            lines.append(f"{key} = [\n{inner}]" if paths else f"{key} = []")
        lines.append("")
    (root / FILES).write_text("\n".join(lines).rstrip() + "\n", "utf-8", newline="\n")


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
