"""The manifest, `steps.toml`: the parts of each step, and the mid-points that they make.

A person writes `steps.toml`: the concept of each step, its parts, and the tests that it retires. A
part names the files that it adds, changes or removes, in the order in which a class reads them. The
last part that names a file brings the version in the step's folder. Every earlier part that names
the file brings an interim file in `course/interim/<step>/part<NN>/`. A mid-point of a step is the
step before with the files of the parts so far, and the step's own README.
"""

import ast
import stat
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from course.core.steps import ROOT, Step, all_steps, step_files
from course.core.terminal import UserError

NAME = "course/steps.toml"
INTERIM = "course/interim"
README = "README.md"
TEST_FILE = "tests/test_*.py"
TestFunction = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Part:
    """One part of a step: its name, and its files in the order of reading."""

    name: str
    files: list[str]


@dataclass(frozen=True)
class Entry:
    """One step as steps.toml describes it.

    Paths are relative to the step's folder, with forward slashes. `retires` gives the reason for
    each retired test: `tests/test_echo.py` or `tests/test_page.py::test_title`.
    """

    label: str
    concept: str
    parts: tuple[Part, ...]
    retires: dict[str, str] = field(default_factory=dict)

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

    def nodes(self, path: str) -> dict[str, ast.Module | TestFunction]:
        """Return the code of each test in a file, by name, and that of the file, by ""."""
        return parse_tests(self.text(path), self.place(path)) if path in self.files else {}

    def tests(self, path: str) -> set[str]:
        """Return the names of the tests in a file; none if there is no such file."""
        return self.nodes(path).keys() - {""}


@cache
def parse_tests(source: bytes, place: str) -> dict[str, ast.Module | TestFunction]:
    """Return the code of a file of tests; raise UserError if it is no Python.

    Each test of a step is a function of its module.
    """
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{place} is no valid Python: {error}.") from None
    functions = [node for node in module.body if isinstance(node, TestFunction)]
    return {"": module, **{node.name: node for node in functions if node.name.startswith("test")}}


def load(root: Path = ROOT) -> list[Entry]:
    """Return the entries of the manifest of `root`, one for each step folder, in order.

    Raises UserError if the manifest cannot be read, or if its steps are not the step folders.
    """
    try:
        entries = []
        for table in tomllib.loads((root / NAME).read_text("utf-8")).get("step", []):
            parts = tuple(Part(**part) for part in table.pop("part", []))
            entries.append(Entry(**table, parts=parts))
    except OSError as error:
        raise UserError(f"{NAME} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, AttributeError) as error:  # no TOML, or not these keys
        raise UserError(
            f"{NAME} cannot be understood: {error}. A [[step]] has a label, a concept and perhaps "
            f"retires, and a [[step.part]] has a name and files."
        ) from None
    described = ", ".join(entry.label for entry in entries) or "no steps"
    found = ", ".join(step.label for step in all_steps(root))
    if described != found:
        raise UserError(
            f"{NAME} describes {described}: describe {found}, each once, in this order."
        )
    return entries


def read_step(step: Step) -> Midpoint:
    """Return the files in the folder of a step, as a mid-point."""
    files = {path.as_posix(): step.folder / path for path in step_files(step.folder)}
    return Midpoint(step, 0, step.name, files)


def chain(step: Step, root: Path = ROOT) -> list[Midpoint]:
    """Return the step before and each mid-point of `step`; for the first step, the step alone.

    The last mid-point is the step. Raises UserError if the manifest is wrong, or an interim file
    is missing.
    """
    steps, entries = all_steps(root), load(root)
    number = steps.index(step)
    own = read_step(step).files
    made = [read_step(steps[max(number - 1, 0)])]
    places = entries[number].interims()
    readme = {README: own[README]} if README in own else {}
    for count, part in enumerate(entries[number].parts if number else (), 1):
        files = made[-1].files | readme
        for path in part.files:
            files.pop(path, None)
            if place := places.get((count, path)):
                files[path] = root / place
                if not files[path].is_file():
                    raise UserError(missing(place, path))
            elif path in own:
                files[path] = own[path]
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
