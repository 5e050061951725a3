"""The manifest `steps.toml`: what each step does to the files of the step before.

`make drift` holds the manifest and the folders against each other, both ways. A file that
the manifest does not name is the same in a step and the step before, byte for byte, with
its executable bit; a file that it names was really added, changed or removed. No file is a
symbolic link, which would lead nowhere from a step that was copied out. Where a step has
parts, each file that `make diff` shows is in one of them.
"""

import ast
import fnmatch
import stat
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

from course.kinds import is_noise
from course.steps import ROOT, Step, all_steps, list_folder
from course.terminal import UserError, colour, say

NAME = "course/steps.toml"
LISTS = ("adds", "changes", "removes")
TEST_FILE = "tests/test_*.py"
TestFunction = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Entry:
    """What the manifest says of one step, against the step before.

    Paths are relative to the step's folder, with forward slashes. `retires` gives the
    reason for each test given up: `tests/test_echo.py` or `tests/test_page.py::test_title`.
    `parts` gives the files of each part in which `make diff` shows the step, both in the order of
    reading; most steps have none.
    """

    label: str
    concept: str
    adds: tuple[str, ...]
    changes: tuple[str, ...]
    removes: tuple[str, ...]
    retires: dict[str, str]
    parts: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Tree:
    """The files of one step as they lie on disk, by path with forward slashes.

    `links` are the symbolic links among its names, wherever they lead.
    """

    label: str
    files: dict[str, Path]
    links: tuple[str, ...]

    def text(self, path: str) -> bytes:
        """Return the bytes of a file."""
        return self.files[path].read_bytes()

    def is_executable(self, path: str) -> bool:
        """Tell whether the owner may execute a file."""
        return bool(self.files[path].stat().st_mode & stat.S_IXUSR)

    def tests(self, path: str) -> set[str]:
        """Return the tests in a file, `test_x` or `TestY::test_x`; SyntaxError if it has one."""
        return set(named_tests(ast.parse(self.text(path)))) if path in self.files else set()


def named_tests(node: ast.AST, prefix: str = "") -> dict[str, TestFunction]:
    """Return the tests that pytest would find below `node`, by name: `TestRoom::test_join`."""
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
    """Tell whether pytest looks for tests in a class: by its name, or because of unittest."""
    bases = [ast.unparse(base) for base in node.bases]
    return node.name.startswith("Test") or any(base.endswith("TestCase") for base in bases)


def read_tree(step: Step) -> Tree:
    """Return the files of a step."""
    paths = {path.as_posix(): step.folder / path for path in list_folder(step.folder)}
    files = {name: path for name, path in paths.items() if path.is_file()}
    links = tuple(name for name, path in paths.items() if path.is_symlink())
    return Tree(step.label, files, links)


def read_entry(table: object, number: int) -> Entry:
    """Return one `[[step]]` of the manifest; UserError where it is not as it should be."""

    def wrong(text: str) -> UserError:
        return UserError(f"{NAME}: {text}")

    def are_paths(value: object) -> bool:
        return isinstance(value, list) and all(isinstance(path, str) for path in value)

    if not isinstance(table, dict):
        raise wrong("each step is a [[step]] table.")
    label = table.get("label")
    if not isinstance(label, str) or not label:
        raise wrong(f'entry {number} has no label, such as label = "step01_echo".')
    unknown = set(table) - {"label", "concept", "retires", "parts", *LISTS}
    if unknown:
        raise wrong(f"{label} has unknown keys: {', '.join(sorted(unknown))}.")
    concept = table.get("concept")
    if not isinstance(concept, str) or not concept.strip():
        raise wrong(f"{label} has no concept: what it teaches, in a few words.")
    lists = {}
    for key in LISTS:
        paths = table.get(key, [])
        if not are_paths(paths):
            raise wrong(f"{key} of {label} must be a list of paths.")
        lists[key] = tuple(paths)
    retires = table.get("retires", {})
    if not isinstance(retires, dict) or not all(isinstance(why, str) for why in retires.values()):
        raise wrong(f"retires of {label} must give each test its reason.")
    parts = table.get("parts", {})
    if not isinstance(parts, dict) or not all(map(are_paths, parts.values())):
        raise wrong(f"parts of {label} must give each part the list of its files.")
    parts = {name: tuple(paths) for name, paths in parts.items()}
    return Entry(label, concept, retires=retires, parts=parts, **lists)


def read_entries(root: Path = ROOT) -> list[Entry]:
    """Return the entries of the manifest of `root`; UserError where it cannot be read."""
    try:
        manifest = tomllib.loads((root / NAME).read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{NAME} cannot be read: {error.strerror}.") from None
    except ValueError as error:  # broken TOML, or no UTF-8
        raise UserError(f"{NAME} cannot be understood: {error}.") from None
    unknown = set(manifest) - {"step"}
    if unknown:
        raise UserError(f"{NAME} has unknown keys: {', '.join(sorted(unknown))}.")
    tables = manifest.get("step", [])
    if not isinstance(tables, list):
        raise UserError(f"{NAME}: each step is a [[step]] table, in double brackets.")
    return [read_entry(table, number) for number, table in enumerate(tables, 1)]


def load(root: Path = ROOT) -> list[Entry]:
    """Return the entries of the manifest of `root`, one for each step folder, in order.

    Raises UserError where the manifest cannot be read, or its steps are not the folders.
    """
    entries = read_entries(root)
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
    """Return the step after `first`, up to `last`, that removes the file `path`; else None."""
    labels = [entry.label for entry in entries]
    between = entries[labels.index(first) + 1 : labels.index(last) + 1]
    return next((entry.label for entry in between if path in entry.removes), None)


def is_binary(data: bytes) -> bool:
    """Tell whether `data` is no text, as git does."""
    return b"\0" in data[:8000]


def only_whitespace(before: bytes, after: bytes) -> bool:
    """Tell whether two different texts are the same once all whitespace is taken out."""
    if is_binary(before) or is_binary(after):
        return False
    return b"".join(before.split()) == b"".join(after.split())


def first_difference(before: bytes, after: bytes) -> str:
    """Return where two different texts part, such as ` from line 3 on`; nothing if binary."""
    if is_binary(before) or is_binary(after):
        return ""
    if before.replace(b"\r\n", b"\n") == after.replace(b"\r\n", b"\n"):
        return " by its line ends (CRLF and LF)"
    lines = list(zip(before.split(b"\n"), after.split(b"\n"), strict=False))
    same = next((n for n, (one, other) in enumerate(lines) if one != other), len(lines))
    return f" from line {same + 1} on"


def list_problems(entry: Entry, before: Tree, after: Tree) -> Iterator[str]:
    """Yield what is wrong with the three lists of an entry, by the names of the files alone."""
    named = [path for key in LISTS for path in getattr(entry, key)]
    for path in sorted({path for path in named if named.count(path) > 1}):
        yield f"{NAME} names {path} of {entry.label} more than once."
    for path in entry.adds:
        if path not in after.files:
            yield f"{NAME} says that {entry.label} adds {path}, but {entry.label} has no such file."
        elif path in before.files:
            yield f"{NAME} says that {entry.label} adds {path}, but {before.label} has it already."
    for path in entry.removes:
        if path in after.files:
            yield f"{NAME} says that {entry.label} removes {path}, but it is still there."
        elif path not in before.files:
            yield f"{NAME} says that {entry.label} removes {path}, which {before.label} never had."
    for path in entry.changes:
        for tree in (before, after):
            if path not in tree.files:
                yield (
                    f"{NAME} says that {entry.label} changes {path}, "
                    f"but {tree.label} has no such file."
                )
    for path in sorted(after.files.keys() - before.files.keys() - set(named)):
        yield (
            f"{after.label}/{path} is not in {before.label} and not declared: "
            f"name it in the adds of {after.label} in {NAME}."
        )
    for path in sorted(before.files.keys() - after.files.keys() - set(named)):
        yield (
            f"{after.label}/{path} is missing though {before.label} has it: "
            f"name it in the removes of {after.label} in {NAME}, or bring it back."
        )


def part_problems(entry: Entry) -> Iterator[str]:
    """Yield what is wrong with the parts of an entry, if it has any."""
    named = [path for key in LISTS for path in getattr(entry, key)]
    places: dict[str, list[str]] = {}
    for part, paths in entry.parts.items():
        if not paths:
            yield f"{NAME}: the part {part} of {entry.label} has no files."
        for path in paths:
            places.setdefault(path, []).append(part)
    for path, parts in places.items():
        if len(parts) > 1:
            yield (
                f"{NAME} names {path} of {entry.label} more than once in the parts: "
                f"{', '.join(parts)}."
            )
        if path not in named:
            yield (
                f"{NAME} has {path} in the part {parts[0]} of {entry.label}, but not among "
                f"what {entry.label} adds, changes or removes."
            )
        elif is_noise(PurePosixPath(path)):
            yield (
                f"{NAME} has {path} in the part {parts[0]} of {entry.label}, but make diff "
                f"leaves such files out: take it out of the part."
            )
    for path in named if entry.parts else []:
        if path not in places and not is_noise(PurePosixPath(path)):
            yield (
                f"{entry.label}/{path} is in no part: name it in [step.parts] of {entry.label} "
                f"in {NAME}, where it is to be read."
            )


def content_problems(entry: Entry, before: Tree, after: Tree) -> Iterator[str]:
    """Yield what is wrong with the content of files that both steps have."""
    for path in sorted(before.files.keys() & after.files.keys()):
        one, other = before.text(path), after.text(path)
        bit_changed = before.is_executable(path) != after.is_executable(path)
        if path in entry.changes:
            if one == other and not bit_changed:
                yield (
                    f"{NAME} says that {entry.label} changes {path}, "
                    f"but it is the same as in {before.label}."
                )
            elif one != other and not bit_changed and only_whitespace(one, other):
                yield (
                    f"{after.label}/{path} differs from {before.label} by nothing but "
                    f"whitespace,{first_difference(one, other)}: make them the same."
                )
        elif one != other:
            yield (
                f"{after.label}/{path} differs from {before.label}"
                f"{first_difference(one, other)}, and is not among the changes "
                f"of {after.label} in {NAME}."
            )
        elif bit_changed:
            which = after if after.is_executable(path) else before
            yield (
                f"{after.label}/{path} differs from {before.label} by its executable bit: "
                f"only {which.label} has it."
            )


def link_problems(tree: Tree) -> Iterator[str]:
    """Yield a sentence for each symbolic link, which a copy of the step alone would not follow."""
    for path in tree.links:
        yield (
            f"{tree.label}/{path} is a symbolic link: put the file itself there, so that the "
            f"step can be copied out."
        )


def broken_tests(tree: Tree) -> Iterator[str]:
    """Yield a sentence for each file of tests that Python cannot read."""
    for path in fnmatch.filter(tree.files, TEST_FILE):
        try:
            tree.tests(path)
        except (SyntaxError, ValueError) as error:
            yield f"{tree.label}/{path} is no Python: {error}."


def retired_problems(entry: Entry, before: Tree, after: Tree) -> Iterator[str]:
    """Yield what is wrong with what an entry says of retired tests."""
    for name, reason in entry.retires.items():
        path, _, test = name.partition("::")
        there = test in after.tests(path) if test else path in after.files
        was_there = test in before.tests(path) if test else path in before.files
        if not fnmatch.fnmatchcase(path, TEST_FILE):
            yield f"{NAME}: {entry.label} retires {name}, which is no {TEST_FILE}."
        elif there:
            yield f"{NAME} says that {entry.label} retires {name}, but it is still there."
        elif not was_there:
            yield f"{NAME} says that {entry.label} retires {name}, which {before.label} never had."
        if not reason.strip():
            yield f"{NAME}: {entry.label} retires {name} without a reason."


def lost_tests(entry: Entry, before: Tree, after: Tree) -> Iterator[str]:
    """Yield a sentence for each test that is gone without having been retired."""
    for path in sorted(fnmatch.filter(before.files, TEST_FILE)):
        if path in entry.retires:
            continue
        if path not in after.files:
            yield (
                f"{before.label}/{path} is gone from {after.label}: "
                f"say why, under its retires in {NAME}."
            )
        elif before.text(path) != after.text(path):
            for test in sorted(before.tests(path) - after.tests(path)):
                if f"{path}::{test}" not in entry.retires:
                    yield (
                        f"{test} is gone from {after.label}/{path}: bring it back, "
                        f'or say why under retires in {NAME}, as "{path}::{test}".'
                    )


def problems(root: Path = ROOT) -> list[str]:
    """Return a sentence for each place where the manifest and the steps do not agree.

    Raises UserError where the manifest itself cannot be used.
    """
    entries = load(root)
    trees = [read_tree(step) for step in all_steps(root)]
    found = [sentence for tree in trees for sentence in link_problems(tree)]
    found += [sentence for tree in trees for sentence in broken_tests(tree)]
    if entries and any(getattr(entries[0], key) for key in (*LISTS, "retires", "parts")):
        found.append(f"{NAME}: {entries[0].label} is the first step and has none before it.")
    for entry, (before, after) in zip(entries[1:], pairwise(trees), strict=True):
        found += list_problems(entry, before, after)
        found += part_problems(entry)
        found += content_problems(entry, before, after)
        if not any(True for tree in (before, after) for _ in broken_tests(tree)):
            found += retired_problems(entry, before, after)
            found += lost_tests(entry, before, after)
    return found


def drift(root: Path = ROOT) -> int:
    """Check the steps against the manifest and say what came out; return the exit code."""
    found = problems(root)
    for text in found:
        say(text)
    if found:
        count = "1 place" if len(found) == 1 else f"{len(found)} places"
        closing = f"The steps and {NAME} disagree in {count}: see above."
        print(colour(closing, "red", sys.stderr), file=sys.stderr)
        return 1
    say(f"{len(all_steps(root))} steps, each different from the last only where {NAME} says so.")
    return 0
