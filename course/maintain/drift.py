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


def retired_problems(entry: Entry, names: list[set[str]]) -> Iterator[str]:
    """Yield a message for each mistake in the retired tests; `names` is that of its chain."""
    *earlier, now = names
    for name, reason in entry.retires.items():
        if name in now:
            yield f"{NAME} says that {entry.label} retires {name}, but this test is still there."
        elif not any(name in each for each in earlier):
            yield f"{NAME} says that {entry.label} retires {name}, which was never there."
        if not reason.strip():
            yield f"{NAME}: {entry.label} retires {name} without a reason."


def problems_of_tests(entries: list[Entry], chains: list[list[Midpoint]]) -> list[str]:
    """Return a message for each unreadable or lost test in the chains of steps."""
    tests: dict[Path, set[str]] = {}
    found = []
    for point in (point for points in chains for point in points):
        for path in fnmatch.filter(point.files, TEST_FILE):
            if point.files[path] not in tests:
                tests[point.files[path]] = set()
                try:
                    tests[point.files[path]] = {f"{path}::{test}" for test in point.tests(path)}
                except (SyntaxError, ValueError) as error:
                    found.append(f"{point.place(path)} is no valid Python: {error}.")
    if found:
        return found
    for entry, points in zip(entries[1:], chains[1:], strict=True):
        paths = [fnmatch.filter(point.files, TEST_FILE) for point in points]
        # The name of a file stands for all its tests.
        names = [
            {*there, *(test for path in there for test in tests[point.files[path]])}
            for point, there in zip(points, paths, strict=True)
        ]
        found += retired_problems(entry, names)
        for after, (one, two) in zip(points[1:], pairwise(names), strict=True):
            gone = one - two - entry.retires.keys()
            for name in sorted(gone):
                file = name.partition("::")[0]
                if file == name or (file not in gone and file not in entry.retires):
                    found.append(
                        f"{name} is gone from {after.label}: bring the test back, or give the "
                        f'reason under retires of {entry.label} in {NAME}, as "{name}".'
                    )
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
