"""A chapter's edits: they lead from one step to the next, a few units of a file at a time."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher, unified_diff
from pathlib import Path

from course.book.source import find_symbol, is_dotted, language, read_lines, units
from course.core.steps import ROOT, find_step, step_files
from course.core.terminal import UserError


@dataclass(eq=False)
class Change:
    """Some lines of the step before (maybe none) become some lines of the step (maybe none)."""

    old: list[str]
    new: list[str]
    place: range  # of the new lines in the step's file, by index
    is_done: bool

    @property
    def lines(self) -> list[str]:
        """The lines as they are now."""
        return self.new if self.is_done else self.old


class File:
    """A file on its way from one step to the next."""

    def __init__(self, path: str, old: list[str], new: list[str]) -> None:
        self.path, self.new = path, new
        self.changes = list(split(path, old, new))

    def lines(self) -> list[str]:
        """Return the lines of the file as it is now."""
        return [line for change in self.changes for line in change.lines]

    def open_changes(self) -> list[Change]:
        """Return what is still to be done."""
        return [change for change in self.changes if not change.is_done]

    def find(self, name: str) -> list[Change]:
        """Return the open changes of a symbol, or the one with the text `name`."""
        found = self.open_changes()
        if self.path.endswith(".py") and is_dotted(name):
            for place in find_symbol(name, self.new):
                return [c for c in found if set(c.place) & set(place)]
        found = [c for c in found if name in "".join(c.new or c.old)]
        if len(found) != 1:
            raise UserError(f"{self.path}: {name!r} is in {len(found)} changes still to be done.")
        return found

    def apply(self, *names: str) -> None:
        """Make the changes that are named; without names, make all that are left."""
        wanted = [change for name in names for change in self.find(name)] or self.open_changes()
        if not wanted:
            raise UserError(f"{self.path} has nothing left to change.")
        for change in wanted:
            change.is_done = True


def split(path: str, old: list[str], new: list[str]) -> Iterator[Change]:
    """Yield the changes between two versions of a file; what is equal is a change that is done."""
    bounds = {unit.start for unit in units(path, new)}
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        starts = [j1, *(start for start in range(j1 + 1, j2) if start in bounds)]
        for start, stop in zip(starts, [*starts[1:], j2], strict=True):
            before = old[i1:i2] if start == j1 else []
            yield Change(before, new[start:stop], range(start, stop), tag == "equal")


def difference(old: list[str], new: list[str]) -> str:
    """Return the difference between two versions as a diff, with an ellipsis for what is equal."""
    lines = list(unified_diff(old, new))[3:]
    return "".join("@@ … @@\n" if line.startswith("@@") else line for line in lines)


class Chapter:
    """The way from the folder `start` to a step, as the edits of a chapter go it.

    `copied` are folders and files that the reader copies from the step, because they are not what
    the chapter is about.
    """

    def __init__(self, start: str, step: str, *copied: str) -> None:
        self.start, self.folder = ROOT / start, find_step(step).folder
        both = {*step_files(self.start), *step_files(self.folder)}
        names = sorted(path.as_posix() for path in both)
        self.copied = [n for n in names if any(n == c or n.startswith(f"{c}/") for c in copied)]
        self.files = {
            name: File(name, read_lines(self.start / name), read_lines(self.folder / name))
            for name in names
            if name not in self.copied
        }

    def edit(self, path: str, *names: str, was: str = "") -> str:
        """Make changes in a file; return the listing: the new file, or what changed as a diff.

        If the file has a new name, `was` is its name before; the file of that name goes away.
        """
        if path not in self.files:
            raise UserError(f"{path} is no file of {self.start.name} or {self.folder.name}.")
        file = self.files[path]
        before = self.files[was].lines() if was else file.lines()
        file.apply(*names)
        if was:
            self.files[was].apply()
        after = file.lines()
        if not before:
            return f"```{language(path)}\n{''.join(after).strip()}\n```\n"
        return f"```diff\n{difference(before, after)}```\n"

    def write(self, folder: Path) -> None:
        """Write the files as they are now into `folder`."""
        for path in [path for path in self.copied if (self.folder / path).exists()]:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.folder / path, folder / path)
        for path, file in self.files.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if (lines := file.lines()) or (place.name == "__init__.py" and not file.new):
                place.write_text("".join(lines), "utf-8")
            else:
                place.unlink(missing_ok=True)

    def left(self) -> list[str]:
        """Return the files that the edits so far have not finished."""
        return [path for path, file in self.files.items() if file.open_changes()]
