"""The manifest, `steps.toml` and `files.toml`: how each step differs from the step before.

A person writes `steps.toml`: the concept of each step, its parts, and the tests that it retires. A
part names the files that it adds, changes or removes, in the order in which a class reads them. The
last part that names a file brings the version in the step's folder. Every earlier part that names
the file brings an interim file in `course/interim/<step>/part<NN>/`. A mid-point of a step is the
step before with the files of the parts so far, and the step's own README.

`make drift ACCEPT=1` writes `files.toml`: the files that each step adds, changes and removes. A
reviewer reads each wanted change there, and `make drift` reports every other change. A file
outside these lists is the same in both steps, byte for byte, and in its executable bit.
"""

import ast
import fnmatch
import json
import stat
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from course.core.steps import ROOT, Step, all_steps, list_folder
from course.core.terminal import UserError, colour, say

NAME = "course/steps.toml"
FILES = "course/files.toml"
INTERIM = "course/interim"
README = "README.md"
TEST_FILE = "tests/test_*.py"
# The lists of files.toml, and the words for them in a sentence.
LISTS = {"adds": "is new", "changes": "is changed", "removes": "is gone"}
FILES_HEAD = """\
# The files that each step adds, changes and removes. Made by `make drift ACCEPT=1`.
"""
TestFunction = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Part:
    """One part of a step: its name, and its files in the order of reading."""

    name: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One step as steps.toml describes it, with the three lists of files.toml.

    Paths are relative to the step's folder, with forward slashes. `retires` gives the reason for
    each retired test: `tests/test_echo.py` or `tests/test_page.py::test_title`.
    """

    label: str
    concept: str
    retires: dict[str, str]
    parts: tuple[Part, ...]
    adds: tuple[str, ...]
    changes: tuple[str, ...]
    removes: tuple[str, ...]

    def interims(self) -> dict[tuple[int, str], str]:
        """Return the place of each interim file in the course, by part number and path."""
        named = [(n, path) for n, part in enumerate(self.parts, 1) for path in part.files]
        last = {path: number for number, path in named}
        return {
            (number, path): f"{INTERIM}/{self.label}/part{number:02}/{path}"
            for number, path in named
            if number < last[path]
        }


@dataclass(frozen=True)
class Midpoint:
    """The files of a step after one of its parts, by path with forward slashes.

    `number` and `name` are those of the part. Number 0 stands for the step's own folder.
    """

    step: Step
    number: int
    name: str
    files: dict[str, Path]

    @property
    def label(self) -> str:
        """The name of the mid-point, such as `step05_deploy-part04`."""
        return f"{self.step.label}-part{self.number:02}" if self.number else self.step.label

    def place(self, path: str) -> str:
        """Return the place of a file in the course: in a step's folder or an interim folder."""
        return self.files[path].relative_to(self.step.folder.parent).as_posix()

    def text(self, path: str) -> bytes:
        """Return the bytes of a file."""
        return self.files[path].read_bytes()

    def is_executable(self, path: str) -> bool:
        """Tell whether the owner may execute a file."""
        return bool(self.files[path].stat().st_mode & stat.S_IXUSR)

    def tests(self, path: str) -> set[str]:
        """Return the tests in a file, such as `TestY::test_x`; raise SyntaxError if that fails."""
        return set(named_tests(ast.parse(self.text(path)))) if path in self.files else set()


def named_tests(node: ast.AST, prefix: str = "") -> dict[str, TestFunction]:
    """Return the tests that pytest finds below `node`, by name: `TestRoom::test_join`."""
    found: dict[str, TestFunction] = {}
    for child in ast.iter_child_nodes(node):
        if isinstance(child, TestFunction):
            if child.name.startswith("test"):
                found[prefix + child.name] = child
        elif isinstance(child, ast.ClassDef):
            if holds_tests(child):
                found |= named_tests(child, f"{prefix}{child.name}::")
        else:
            found |= named_tests(child, prefix)
    return found


def holds_tests(node: ast.ClassDef) -> bool:
    """Tell whether pytest looks for tests in a class: for its name, or for unittest."""
    bases = [ast.unparse(base) for base in node.bases]
    return node.name.startswith("Test") or any(base.endswith("TestCase") for base in bases)


def read_toml(name: str, root: Path) -> dict[str, Any]:
    """Return the content of a file of the manifest; raise UserError if it cannot be read."""
    try:
        return tomllib.loads((root / name).read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}.") from None
    except ValueError as error:  # broken TOML, or no UTF-8
        raise UserError(f"{name} cannot be understood: {error}.") from None


def read_part(table: object, label: str) -> Part:
    """Return one `[[step.part]]` of a step; raise UserError if the table is malformed."""
    match table:
        case {"name": str(name), "files": [*files], **more} if not more and name and files:
            if all(isinstance(path, str) for path in files):
                return Part(name, tuple(files))
    raise UserError(f"{NAME}: each [[step.part]] of {label} has a name and a list of its files.")


def read_entry(table: object, number: int, lists: dict[str, Any]) -> Entry:
    """Return one `[[step]]` of the manifest; raise UserError if the table is malformed.

    `lists` is the content of files.toml.
    """

    def wrong(text: str) -> UserError:
        return UserError(f"{NAME}: {text}")

    if not isinstance(table, dict):
        raise wrong("each step is a [[step]] table.")
    label = table.get("label")
    if not isinstance(label, str) or not label:
        raise wrong(f'entry {number} has no label, such as label = "step01_echo".')
    unknown = set(table) - {"label", "concept", "retires", "part"}
    if unknown:
        raise wrong(f"{label} has unknown keys: {', '.join(sorted(unknown))}.")
    concept = table.get("concept")
    if not isinstance(concept, str) or not concept.strip():
        raise wrong(f"{label} has no concept: say in a few words what the step teaches.")
    retires = table.get("retires", {})
    if not isinstance(retires, dict) or not all(isinstance(why, str) for why in retires.values()):
        raise wrong(f"retires of {label} must give each test its reason.")
    tables = table.get("part", [])
    if not isinstance(tables, list):
        raise wrong(f"each part of {label} is a [[step.part]] table, in double brackets.")
    parts = tuple(read_part(part, label) for part in tables)
    paths = {key: tuple(lists.get(label, {}).get(key, [])) for key in LISTS}
    return Entry(label, concept, retires, parts, **paths)


def load(root: Path = ROOT) -> list[Entry]:
    """Return the entries of the manifest of `root`, one for each step folder, in order.

    Raises UserError if the manifest cannot be read, or if its steps are not the step folders.
    """
    manifest = read_toml(NAME, root)
    unknown = set(manifest) - {"step"}
    if unknown:
        raise UserError(f"{NAME} has unknown keys: {', '.join(sorted(unknown))}.")
    tables = manifest.get("step", [])
    if not isinstance(tables, list):
        raise UserError(f"{NAME}: each step is a [[step]] table, in double brackets.")
    lists = read_toml(FILES, root) if (root / FILES).exists() else {}
    entries = [read_entry(table, number, lists) for number, table in enumerate(tables, 1)]
    described = [entry.label for entry in entries]
    found = [step.label for step in all_steps(root)]
    for label in found:
        if label not in described:
            raise UserError(f"{NAME} has no entry for the folder {label}.")
    for label in described:
        if label not in found:
            raise UserError(f"{NAME} has an entry {label}, but there is no such step folder.")
        if described.count(label) > 1:
            raise UserError(f"{NAME} has more than one entry {label}.")
    if described != found:
        raise UserError(f"{NAME} must name the steps in their order: {', '.join(found)}.")
    return entries


def removed_by(path: str, entries: list[Entry], first: str, last: str) -> str | None:
    """Return the step after `first`, up to `last`, that removes the file `path`, or None."""
    labels = [entry.label for entry in entries]
    between = entries[labels.index(first) + 1 : labels.index(last) + 1]
    return next((entry.label for entry in between if path in entry.removes), None)


def read_step(step: Step) -> Midpoint:
    """Return the files in the folder of a step, as a mid-point."""
    paths = {path.as_posix(): step.folder / path for path in list_folder(step.folder)}
    return Midpoint(step, 0, step.name, {name: at for name, at in paths.items() if at.is_file()})


def midpoints(step: Step, root: Path = ROOT) -> list[Midpoint]:
    """Return the mid-points of a step; the last one is the step, and the first step has none.

    Raises UserError if the manifest is wrong or an interim file is missing.
    """
    return chain(step, root)[1:]


def chain(step: Step, root: Path = ROOT) -> list[Midpoint]:
    """Return the step before and each mid-point of `step`; for the first step, the step alone."""
    steps, entries = all_steps(root), load(root)
    number = steps.index(step)
    own = read_step(step).files
    made = [read_step(steps[max(number - 1, 0)])]
    places = entries[number].interims()
    readme = {README: own[README]} if README in own else {}
    for count, part in enumerate(entries[number].parts if number else (), 1):
        files = made[-1].files | readme
        for path in part.files:
            if place := places.get((count, path)):
                if not (root / place).is_file():
                    raise UserError(missing(place, path))
                files[path] = root / place
            elif path in own:
                files[path] = own[path]
            else:
                files.pop(path, None)
        made.append(Midpoint(step, count, part.name, files))
    return made


def missing(place: str, path: str) -> str:
    """Return the message for a missing interim file."""
    return f"{place} is missing: {NAME} names {path} in this part, and again in a later part."


def difference(before: Midpoint, after: Midpoint) -> dict[str, str]:
    """Return `adds`, `changes` or `removes` for each file that differs between two mid-points."""
    found = {}
    for path in sorted(before.files.keys() | after.files.keys()):
        if path not in before.files:
            found[path] = "adds"
        elif path not in after.files:
            found[path] = "removes"
        elif before.files[path] != after.files[path] and (
            before.text(path) != after.text(path)
            or before.is_executable(path) != after.is_executable(path)
        ):
            found[path] = "changes"
    return found


def is_binary(data: bytes) -> bool:
    """Tell whether `data` is binary, by git's rule."""
    return b"\0" in data[:8000]


def only_whitespace(before: bytes, after: bytes) -> bool:
    """Tell whether two texts differ, but only in whitespace."""
    if before == after or is_binary(before) or is_binary(after):
        return False
    return b"".join(before.split()) == b"".join(after.split())


def first_difference(before: bytes, after: bytes) -> str:
    """Return the place of the first difference, such as ` from line 3 on`; "" for binary files."""
    if before == after:
        return " by its executable bit"
    if is_binary(before) or is_binary(after):
        return ""
    if before.replace(b"\r\n", b"\n") == after.replace(b"\r\n", b"\n"):
        return " by its line ends (CRLF and LF)"
    lines = list(zip(before.split(b"\n"), after.split(b"\n"), strict=False))
    same = next((n for n, (one, other) in enumerate(lines) if one != other), len(lines))
    return f" from line {same + 1} on"


def link_problems(root: Path) -> Iterator[str]:
    """Yield a message for each symbolic link: a copy of the step would break the link."""
    for folder in (*(step.folder for step in all_steps(root)), root / INTERIM):
        for path in list_folder(folder) if folder.is_dir() else []:
            if (folder / path).is_symlink():
                yield (
                    f"{(folder / path).relative_to(root).as_posix()} is a symbolic link: put the "
                    f"file itself there, so that a copy of the step has the file."
                )


def list_problems(entry: Entry, before: Midpoint, after: Midpoint) -> Iterator[str]:
    """Yield a message for each file that files.toml lists wrongly, or that has no real change."""
    now = difference(before, after)
    then = {path: key for key in LISTS for path in getattr(entry, key)}
    for path in sorted(now.keys() | then.keys()):
        verb = now.get(path)
        both = (before.text(path), after.text(path)) if verb == "changes" else (b"", b"")
        where = first_difference(*both) if verb == "changes" else ""
        if verb != then.get(path):
            same = f"is the same as in {before.label}"
            yield (
                f"{after.label}/{path} {LISTS.get(verb or '', same)}{where}, "
                f"but {FILES} says that it {LISTS.get(then.get(path, ''), same)}."
            )
        if only_whitespace(*both):
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
        for path in dict.fromkeys(part.files):
            if path == README:
                yield f"{NAME}: {after.label} names {README}, which belongs to no part."
            elif path not in changed:
                yield (
                    f"{NAME}: {after.label} names {path}, but does not change this file: "
                    f"{before.label} has the same file, or neither has the file."
                )
            if part.files.count(path) > 1:
                yield f"{NAME}: {after.label} names {path} more than once."
    for path in difference(points[-1], step):
        if path != README:
            yield (
                f"{entry.label}/{path} is in no part: name this file in a [[step.part]] of "
                f"{entry.label} in {NAME}."
            )


def changed_tests(before: Midpoint, after: Midpoint) -> list[str]:
    """Return the files of tests that differ between two mid-points."""
    return fnmatch.filter(difference(before, after), TEST_FILE)


def broken_tests(points: list[Midpoint]) -> Iterator[str]:
    """Yield a message for each file of tests in a chain that is no valid Python."""
    files = [(points[0], path) for path in fnmatch.filter(points[0].files, TEST_FILE)]
    files += [(two, path) for one, two in pairwise(points) for path in changed_tests(one, two)]
    for point, path in files:
        try:
            point.tests(path)
        except (SyntaxError, ValueError) as error:
            yield f"{point.place(path)} is no valid Python: {error}."


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
    found = [sentence for points in chains for sentence in broken_tests(points)]
    if not found:
        for entry, points in zip(entries[1:], chains[1:], strict=True):
            found += [*retired_problems(entry, points), *lost_tests(entry, points)]
    return list(dict.fromkeys(found))


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
        found += list_problems(entry, before, after)
    if wrong := list(interim_problems(entries, root)):
        return found + wrong
    chains = [chain(step, root) for step in steps]
    for entry, points, folder in zip(entries[1:], chains[1:], folders[1:], strict=True):
        found += part_problems(entry, points, folder)
    return found + problems_of_tests(entries, chains)


def accept(root: Path) -> None:
    """Write files.toml from the folders."""
    lines = [FILES_HEAD]
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
        count = "1 place" if len(found) == 1 else f"{len(found)} places"
        closing = f"The steps and {NAME} disagree in {count}: see above."
        if any(FILES in text for text in found):
            closing += f" make drift ACCEPT=1 writes {FILES} from the folders."
        print(colour(closing, "red", sys.stderr), file=sys.stderr)
        return 1
    say(f"The {len(all_steps(root))} steps differ only where {FILES} says so.")
    return 0
