"""`make propagate`: carry what changed in one step into each later step.

What changed is the step's working tree against the last commit. Each changed file is merged
with three sides: base is the committed file of that step, theirs its working file, ours the
working file of the later step.

Base and theirs are those of the named step for every later step. One could hand the merged
file on from step to step instead, since each step was once made from the one before. Then
whatever else lies uncommitted in a step between would travel along, and a wrong merge would
be the ground of the next. A file that is the same in two steps comes out the same both ways,
because equal sides merge equally, so nothing is lost by it.

A step is done whole or not at all: all its merges are known before its first file is
written. At a conflict that step and all after it stay as they are. What would happen in the
steps after it is not told, because it depends on how the conflict is solved. Whoever solves
it by hand names the file (`--by-hand`): that step keeps it as it is, and the steps after take
what changed in it from there.

What was carried is noted in `.course/propagated`. As long as nothing is committed and a later
file is what came out then, the base for it is the source's file as it was carried, and not the
committed one: so the same line can be changed and carried again before the commit.

Git reads the working files into an index and objects of our own, so that renames are seen,
ignored files are not, and the reader's index is not touched. The README.md of a step differs
in every step and is left out.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path, PurePosixPath

from course.manifest import NAME, Entry, is_binary, load, problems, removed_by
from course.processes import undisturbed
from course.results import paragraph
from course.steps import ROOT, Step, all_steps, find_step
from course.terminal import UserError, colour, say

GIT = ("git", "-c", "core.safecrlf=false", "-c", "merge.conflictStyle=merge")
LEFT_OUT = "README.md"
MARKER = 40  # characters of a conflict marker: longer than any line of signs in a text


class Conflict(Exception):
    """A change that cannot be carried into a step; its text says why, after the file's name."""


@dataclass(frozen=True)
class Blob:
    """A file as git knows it: its mode, such as `100644`, and the id of its content."""

    mode: str
    id: str

    @property
    def is_executable(self) -> bool:
        """Tell whether the file may be executed."""
        return self.mode == "100755"


@dataclass(frozen=True)
class Change:
    """What happened to a file of the step `source`: git's letter, its path before and after.

    `base` is the tree against which the file has changed.
    """

    source: str
    letter: str
    old: str
    new: str
    base: str

    @property
    def shown(self) -> str:
        """The path, and for a rename both: `chat/{old.py → new.py}`."""
        if self.old == self.new:
            return self.new
        old, new = PurePosixPath(self.old), PurePosixPath(self.new)
        if old.parent == new.parent and old.parent.parts:
            return f"{old.parent}/{{{old.name} → {new.name}}}"
        return f"{old} → {new}"

    def touches(self, paths: set[str]) -> bool:
        """Tell whether this is about one of `paths`."""
        return self.old in paths or self.new in paths

    def overlaps(self, other: "Change") -> bool:
        """Tell whether this is about a file that another change is about."""
        return self.touches({other.old, other.new})


@dataclass(frozen=True)
class Result:
    """What is done with one change in one step: a word and a text to show, and what to write."""

    word: str
    text: str
    path: str = ""
    content: bytes | None = None
    executable: bool = False
    delete: str = ""

    def __str__(self) -> str:
        word = f"{self.word:<9}"
        return f"  {colour(word, 'red') if self.word == 'conflict' else word} {self.text}"


# A file that was carried, and what it became in the later step; None stands for no file.
Carried = tuple[Blob | None, Blob | None]


class Notes:
    """What was carried since the last commit, with the objects that git needs to know of it."""

    def __init__(self, root: Path, head: str) -> None:
        """Read what was noted of the commit `head`; notes of another are worth nothing."""
        self.folder = root / ".course" / "propagated"
        self.objects = self.folder / "objects"
        self.head = head
        self.files: dict[str, dict[str, Carried]] = {}
        try:
            kept = json.loads((self.folder / "notes.json").read_text("utf-8"))
        except (OSError, ValueError):
            kept = {"head": ""}
        self.are_valid = kept["head"] == head
        for pair, files in kept["files"].items() if self.are_valid else ():
            for path, (theirs, result) in files.items():
                carried = theirs and Blob(*theirs), result and Blob(*result)
                self.files.setdefault(pair, {})[path] = carried

    def of(self, label: str, later: str) -> dict[str, Carried]:
        """Return what was carried from the step `label` into `later`, by path, to add to it."""
        return self.files.setdefault(f"{label} {later}", {})

    def keep(self, objects: Path) -> None:
        """Write the notes down, and the new `objects` that they speak of."""
        if not self.are_valid:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.are_valid = True
        for file in objects.glob("??/*"):
            target = self.objects / file.relative_to(objects)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                shutil.copyfile(file, target)
        files = {
            pair: {path: [blob and astuple(blob) for blob in both] for path, both in paths.items()}
            for pair, paths in self.files.items()
        }
        kept = {"head": self.head, "files": files}
        (self.folder / "notes.json").write_text(json.dumps(kept, indent=1), "utf-8")


class Repository:
    """The steps as committed and as they lie on disk, read without touching either."""

    def __init__(self, root: Path, scratch: Path, source: Step) -> None:
        """Read the repository at `root`; UserError where `source` is not committed in it."""
        self.root = root
        self.scratch = scratch
        self.env = dict(os.environ)
        self.require()
        self.require_merged()
        self.head = self.git("rev-parse", "HEAD").decode().strip()
        # What git was asked before: neither trees nor the working files as read change.
        self.listings: dict[str, dict[str, Blob]] = {}
        self.found: dict[tuple[str, str | None], list[Change]] = {}
        self.committed = self.files(self.head)
        if not any(path.startswith(f"{source.label}/") for path in self.committed):
            raise UserError(
                f"{source.label} was never committed: there is nothing to compare it with."
            )
        self.notes = Notes(root, self.head)
        self.borrow()
        self.tree = self.snapshot()
        self.working = self.files(self.tree)

    def git(
        self, *arguments: str, cwd: Path | None = None, told: bytes = b"", **variables: str
    ) -> bytes:
        """Return what git printed when it was `told` something; UserError if it failed.

        `variables` are more of its environment. The error has the last line that git said.
        """
        command, env = [*GIT, *arguments], self.env | variables
        done = subprocess.run(
            command, cwd=cwd or self.root, env=env, input=told, capture_output=True
        )
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").splitlines()
            said = [line for line in said if line and not line.startswith("hint:")]
            raise UserError(f"git {arguments[0]} failed. It said: {' '.join(said[-1:])}")
        return done.stdout

    def require(self) -> None:
        """Raise UserError where there is no git, no repository or no commit."""
        if not shutil.which("git"):
            raise UserError("make propagate needs git: install it, and run the command again.")
        try:
            self.git("rev-parse", "--show-toplevel")
        except UserError as error:
            raise UserError(
                f"make propagate compares with the last commit, and {self.root} is in no "
                f"repository that git can use: {str(error).partition('It said: ')[2]}"
            ) from None
        try:
            self.git("rev-parse", "--verify", "--quiet", "HEAD")
        except UserError:
            raise UserError(
                "make propagate compares with the last commit, and there is none yet: "
                "commit the steps first."
            ) from None

    def require_merged(self) -> None:
        """Raise UserError where git has files in conflict: they hold its markers, or may do so."""
        labels = [step.label for step in all_steps(self.root)]
        listing = self.git("ls-files", "--unmerged", "-z", "--", *labels)
        names = [os.fsdecode(line.partition(b"\t")[2]) for line in listing.split(b"\0")[:-1]]
        if names:
            raise UserError(
                "Git has not finished merging. Solve what is in conflict, and tell git so: "
                f"git add {' '.join(map(shlex.quote, dict.fromkeys(names)))}"
            )

    def borrow(self) -> None:
        """Let git work in an index and a store of our own, beside those of the repository."""

        def place(name: str) -> Path:
            found = os.fsdecode(self.git("rev-parse", "--git-path", name)).rstrip("\n")
            return (self.root / found).resolve()

        index, objects = place("index"), place("objects")
        ours = self.scratch / "objects"
        (ours / "info").mkdir(parents=True)
        stores = [objects.as_posix()]
        if self.notes.are_valid:
            stores.append(self.notes.objects.resolve().as_posix())
        (ours / "info" / "alternates").write_bytes(os.fsencode("\n".join([*stores, ""])))
        if index.is_file():
            # With its time, by which git knows the files that may have changed since.
            shutil.copy2(index, self.scratch / "index")
        self.env["GIT_INDEX_FILE"] = str(self.scratch / "index")
        self.env["GIT_OBJECT_DIRECTORY"] = str(ours)

    def snapshot(self) -> str:
        """Return the id of a tree of the working files."""
        self.git("add", "--all", "--", *(step.label for step in all_steps(self.root)))
        return self.git("write-tree").decode().strip()

    def files(self, tree: str) -> dict[str, Blob]:
        """Return the files in a tree, by path below the root."""
        if tree in self.listings:
            return self.listings[tree]
        found = self.listings[tree] = {}
        for line in self.git("ls-tree", "-r", "-z", tree).split(b"\0")[:-1]:
            about, _, path = line.partition(b"\t")
            mode, _, blob = about.decode().split()
            found[os.fsdecode(path)] = Blob(mode, blob)
        return found

    def content(self, tree: str, path: str) -> bytes:
        """Return the content of a file in a tree, with the line ends it has on disk."""
        return self.git("cat-file", "--filters", f"{tree}:./{path}")

    def carried(self, label: str, later: str) -> str:
        """Return the tree in which the files of a step are as a later step has them already.

        That is the last commit, but for what was carried into the later step since then.
        """
        known = {
            path: theirs
            for path, (theirs, result) in self.notes.of(label, later).items()
            if self.working.get(f"{later}/{path}") == result
        }
        if not known:
            return self.head
        prefix = os.fsdecode(self.git("rev-parse", "--show-prefix")).rstrip("\n")
        gone = Blob("0", "0" * len(self.head))
        # First what is gone, so that a folder can have the name of a file.
        lines = [
            f"{(theirs or gone).mode} {(theirs or gone).id}\t{prefix}{label}/{path}\0"
            for path, theirs in sorted(known.items(), key=lambda item: item[1] is not None)
        ]
        index = str(self.scratch / "carried")
        self.git("read-tree", self.head, GIT_INDEX_FILE=index)
        told = os.fsencode("".join(lines))
        self.git("update-index", "-z", "--index-info", told=told, GIT_INDEX_FILE=index)
        return self.git("write-tree", GIT_INDEX_FILE=index).decode().strip()

    def changes(self, label: str, later: str | None = None) -> list[Change]:
        """Return what changed in a step since the last commit, its README.md aside.

        With `later`, only what was not carried into that step already.
        """
        if (label, later) in self.found:
            return self.found[label, later]
        base = self.carried(label, later) if later else self.head
        listing = self.git(
            "diff-tree", "-r", "-z", "-M", "--name-status", "--relative", base, self.tree,
            "--", ".", f":(exclude){LEFT_OUT}", cwd=self.root / label,
        )  # fmt: skip
        fields = iter(os.fsdecode(listing).split("\0")[:-1])
        found = self.found[label, later] = []
        for status in fields:
            old = next(fields)
            new = next(fields) if status[0] == "R" else old
            found.append(Change(label, status[0], old, new, base))
        return found

    def note(self, changes: list[Change], later: str) -> None:
        """Note that a later step, as it lies on disk now, has the changes."""
        made = self.files(self.snapshot())
        for change in changes:
            for path in (change.old, change.new):
                result = made.get(f"{later}/{path}")
                # What is there as it was committed was not carried.
                if result != self.committed.get(f"{later}/{path}"):
                    theirs = self.working.get(f"{change.source}/{path}")
                    self.notes.of(change.source, later)[path] = theirs, result
        self.notes.keep(self.scratch / "objects")


def places(marked: list[bytes], text: bytes, side: int) -> list[str]:
    """Return where the conflicts in the lines `marked` lie in one of the merged texts.

    `side` is 0 for the text above the middle marker, 1 for the one below. A place is
    `12`, `12-15`, or `after 11` where the conflict has no line on that side.
    """
    own: list[bytes] = []
    ranges, start, part = [], 0, None
    for line in marked:
        if line.startswith(b"<" * MARKER):
            start, part = len(own), 0
        elif line == b"=" * MARKER:
            part = 1
        elif line.startswith(b">" * MARKER):
            ranges.append((start, len(own)))
            part = None
        elif part in (None, side):
            own.append(line)
    blocks = SequenceMatcher(None, text.split(b"\n"), own, False).get_matching_blocks()

    def line_number(index: int) -> int:
        """Return the number in the text, from 1, of a line in what the merge made of it."""
        block = max((b for b in blocks if b.b <= index), key=lambda b: b.b, default=blocks[0])
        return max(block.a + min(index - block.b, block.size - 1), 0) + 1

    found = []
    for first, end in ranges:
        if first == end:
            found.append(f"after {line_number(first - 1) if first else 0}")
            continue
        numbers = line_number(first), line_number(end - 1)
        found.append("-".join(map(str, dict.fromkeys(numbers))))
    return found


def lines(found: list[str]) -> str:
    """Return places as they are spoken of: `line 3`, `lines 3, 7-9`, `after line 2`."""
    if len(found) == 1 and found[0].startswith("after"):
        return found[0].replace("after", "after line")
    return f"{'line' if len(found) == 1 and found[0].isdecimal() else 'lines'} {', '.join(found)}"


def merge(base: bytes, ours: bytes, theirs: bytes, source: str, scratch: Path) -> bytes:
    """Return `ours` with what `theirs` changed in `base`; Conflict says at which lines."""
    if any(map(is_binary, (base, ours, theirs))):
        raise Conflict("is no text and differs there")
    files = []
    for name, content in (("ours", ours), ("base", base), ("theirs", theirs)):
        files.append(str(scratch / name))
        (scratch / name).write_bytes(content)
    command = [*GIT, "merge-file", "-p", "-q", f"--marker-size={MARKER}", *files]
    done = subprocess.run(command, cwd=scratch, capture_output=True)
    if done.returncode > 127:
        raise Conflict(f"cannot be merged: {done.stderr.decode(errors='replace').strip()}")
    if done.returncode:
        marked = done.stdout.replace(b"\r\n", b"\n").split(b"\n")
        here, there = (
            lines(places(marked, text.replace(b"\r\n", b"\n"), side))
            for side, text in enumerate((ours, theirs))
        )
        raise Conflict(f"{here}\n            where {source} has changed {there}")
    return done.stdout


class Plan:
    """What carrying changes into one later step comes to; nothing is written here."""

    def __init__(self, repository: Repository, later: Step, entries: list[Entry]) -> None:
        self.repository = repository
        self.later = later
        self.entries = entries

    def ours(self, path: str) -> Blob | None:
        """Return the file of the later step, or None."""
        return self.repository.working.get(f"{self.later.label}/{path}")

    def base(self, change: Change) -> Blob:
        """Return the file before a change that is no new file."""
        return self.repository.files(change.base)[f"{change.source}/{change.old}"]

    def theirs(self, change: Change) -> Blob:
        """Return the working file of a change that is no deletion."""
        return self.repository.working[f"{change.source}/{change.new}"]

    def carry(self, change: Change) -> Result:
        """Return what is to be done about one change."""
        ours = self.ours(change.old)
        sides = [ours] if ours else []
        sides += [] if change.letter == "A" else [self.base(change)]
        sides += [] if change.letter == "D" else [self.theirs(change)]
        try:
            if any(blob.mode not in ("100644", "100755") for blob in sides):
                raise Conflict("is no ordinary file")
            remover = self.remover(change)
            if remover:
                return Result("skipped", f"{change.shown} ({remover} removes it)")
            if change.letter == "D":
                return self.delete(change, ours)
            if change.letter == "A":
                return self.add(change, ours)
            return self.change(change, ours)
        except Conflict as conflict:
            return Result("conflict", f"{change.shown}: {conflict}", change.old)

    def remover(self, change: Change) -> str | None:
        """Return the step on the way that removes the file; None where the file is there."""
        for path in (change.old, change.new):
            if self.ours(path):
                return None
            label = removed_by(path, self.entries, change.source, self.later.label)
            if label:
                return label
        return None

    def delete(self, change: Change, ours: Blob | None) -> Result:
        """Delete a file that is what the deleted one was."""
        if ours is None:
            return Result("same", f"{change.shown} (gone already)")
        if ours != self.base(change):
            raise Conflict("was deleted, but differs there")
        return Result("deleted", change.shown, delete=change.old)

    def add(self, change: Change, ours: Blob | None) -> Result:
        """Add a new file."""
        theirs = self.theirs(change)
        if ours == theirs:
            return Result("same", change.shown)
        if ours is not None:
            raise Conflict("is new, but another file of that name is there")
        self.require_room(change.new)
        content = self.on_disk(change.source, change.new)
        return Result("added", change.shown, change.new, content, theirs.is_executable)

    def change(self, change: Change, ours: Blob | None) -> Result:
        """Change a file, and rename it where it was renamed."""
        base, theirs = self.base(change), self.theirs(change)
        renamed = change.old != change.new
        if ours is None:
            if renamed and self.ours(change.new) == theirs:
                return Result("same", change.shown)
            raise Conflict(f"is missing, and {NAME} names no step that removes it")
        if renamed:
            self.require_room(change.new)
        content, word = self.merged(change, ours)
        executable = (ours if base.mode == theirs.mode else theirs).is_executable
        remark = ""
        if executable != ours.is_executable:
            remark = " (now executable)" if executable else " (no longer executable)"
        if renamed:
            remark += f", {word}" if base.id != theirs.id else ""
            text = change.shown + remark
            return Result("renamed", text, change.new, content, executable, change.old)
        if not remark and content == self.on_disk(self.later.label, change.old):
            return Result("same", change.shown)
        return Result(word, change.shown + remark, change.new, content, executable)

    def merged(self, change: Change, ours: Blob) -> tuple[bytes, str]:
        """Return the content of the later step's file after the change, and how it was made."""
        base, theirs = self.base(change), self.theirs(change)
        if ours.id in (base.id, theirs.id):
            return self.on_disk(change.source, change.new), "copied"
        mine = self.on_disk(self.later.label, change.old)
        if base.id == theirs.id:
            return mine, "merged"
        before = self.repository.content(change.base, f"{change.source}/{change.old}")
        after = self.on_disk(change.source, change.new)
        return merge(before, mine, after, change.source, self.repository.scratch), "merged"

    def on_disk(self, label: str, path: str) -> bytes:
        """Return the content of a working file of a step."""
        return self.repository.content(self.repository.tree, f"{label}/{path}")

    def require_room(self, path: str) -> None:
        """Raise Conflict where a file cannot be put at `path`, even one that git ignores."""
        target = self.later.folder / path
        if os.path.lexists(target):
            raise Conflict(f"needs the name {path}, but that is there already")
        for parent in target.relative_to(self.later.folder).parents:
            if (self.later.folder / parent).is_file():
                raise Conflict(f"needs the folder {parent.as_posix()}, but that is a file")


@contextmanager
def undone_on_failure() -> Iterator[list[Callable[[], object]]]:
    """Collect calls that undo what is done inside; make them, last first, if that fails."""
    undo: list[Callable[[], object]] = []
    try:
        yield undo
    except BaseException:
        for call in reversed(undo):
            call()
        raise


def set_executable(file: Path, model: Path, executable: bool) -> None:
    """Give `file` the mode of `model` (itself, if there is none) with or without the bit."""
    mode = (model if model.exists() else file).stat().st_mode & 0o777
    file.chmod(mode | (mode & 0o444) >> 2 if executable else mode & ~0o111)


def write(results: list[Result], folder: Path, scratch: Path) -> None:
    """Do in a step's `folder` what was planned: all of it, or nothing if a write fails.

    `scratch` is an empty folder on the same disk, so that files can be moved into place.
    """
    for number, result in enumerate(results):
        if result.content is not None:
            new = scratch / f"new{number}"
            new.write_bytes(result.content)
            set_executable(new, folder / (result.delete or result.path), result.executable)
    with undisturbed(), undone_on_failure() as undo:
        for number, result in enumerate(results):
            for kind, path in (("old", result.path), ("gone", result.delete)):
                if path and (folder / path).exists():
                    shutil.copy2(folder / path, scratch / f"{kind}{number}")
                    undo.append(partial((scratch / f"{kind}{number}").replace, folder / path))
                elif path:
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    undo.append(partial((folder / path).unlink, missing_ok=True))
            if result.content is not None:
                (scratch / f"new{number}").replace(folder / result.path)
            if result.delete:
                (folder / result.delete).unlink()
    for result in results:
        if result.delete:
            remove_empty(folder, (folder / result.delete).parent)


def remove_empty(folder: Path, inner: Path) -> None:
    """Remove the folder `inner` and those around it, below `folder`, as far as they are empty."""
    with suppress(OSError):
        while inner != folder:
            inner.rmdir()
            inner = inner.parent


class Origins:
    """The step that each change is taken from: one where it was made by hand, or the first."""

    def __init__(self, source: Step) -> None:
        self.source = source.label
        self.by_path: dict[str, str] = {}

    @property
    def labels(self) -> list[str]:
        """The steps that changes are taken from."""
        return [*dict.fromkeys([self.source, *self.by_path.values()])]

    def choose(self, found: Iterable[list[Change]]) -> list[Change]:
        """Return, of the changes found in the steps, those that are taken from them."""
        return [change for changes in found for change in changes if self.is_origin(change)]

    def is_origin(self, change: Change) -> bool:
        """Tell whether a change is taken from the step in which it was found."""
        labels = [self.by_path[path] for path in (change.old, change.new) if path in self.by_path]
        return change.source == (labels or [self.source])[0]

    def replace(self, change: Change, step: Step) -> None:
        """Take what was done by hand in `step`, from there on, in place of what it stands for."""
        self.by_path |= dict.fromkeys((change.old, change.new), step.label)


class ByHand:
    """The files that were changed by hand to solve a conflict: `step02_groups/chat/urls.py`."""

    def __init__(self, names: Sequence[str], later: list[Step], changes: list[Change]) -> None:
        """Sort the files by step; UserError for one that has nothing to do with `changes`."""
        self.names = [PurePosixPath(name.replace("\\", "/")).as_posix() for name in names]
        self.paths: dict[str, set[str]] = {step.label: set() for step in later}
        for name in self.names:
            label, _, path = name.partition("/")
            if label not in self.paths or not any(change.touches({path}) for change in changes):
                raise UserError(
                    "BY_HAND names a file of a later step that changed in the first one, "
                    f"such as {later[0].label}/{changes[0].new}, not {name}."
                )
            self.paths[label].add(path)

    def touch(self, change: Change, step: Step) -> bool:
        """Tell whether a change was made by hand in a step."""
        return change.touches(self.paths[step.label])


def tell(text: str) -> None:
    """Say a text, wrapped to the width of a terminal, after an empty line."""
    say("\n".join(["", *paragraph(text, "")]))


def announce(
    source: Step, changes: list[Change], due: list[Change], repository: Repository
) -> None:
    """Say how much changed in the step that changes are carried from, `due` being not carried."""
    count = {0: "Nothing", 1: "1 file"}.get(len(changes), f"{len(changes)} files")
    say(f"{count} changed in {source.label} since the last commit.")
    if due and not changes:
        say("What was carried before is taken back.")
    readme = f"{source.label}/{LEFT_OUT}"
    if repository.committed.get(readme) != repository.working.get(readme):
        say(f"Its {LEFT_OUT} is left out: that of each step is its own.")


def carry_out(results: list[Result], step: Step, root: Path) -> None:
    """Write what was planned for a step; UserError where the disk does not let us."""
    state = root / ".course"
    state.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=state) as scratch:
            write(results, step.folder, Path(scratch))
    except OSError as error:
        raise UserError(
            f"{step.label} was left as it was, because it cannot be written: {error}."
        ) from None


def command_with(source: Step, names: list[str]) -> str:
    """Return the command that carries changes on from the files done by hand."""
    if any(shlex.quote(name) != name for name in names):
        # make would take a name with a blank for two, and a $ for its own.
        quoted = [f"--by-hand {shlex.quote(name)}" for name in names]
        return " ".join(["python -m course propagate", source.label, *quoted])
    joined = " ".join(names)
    return f"make propagate FROM={source.label} BY_HAND=" + (
        f'"{joined}"' if len(names) > 1 else joined
    )


def stop_at(here: Step, later: list[Step], solved: list[str], source: Step, dry_run: bool) -> int:
    """Say what a conflict leaves undone, and how to go on; return the exit code.

    `solved` are the files to name as done by hand next time.
    """
    at = later.index(here)
    done = ", ".join(step.label for step in later[:at]) or "no step"
    left = ", ".join(step.label for step in later[at:])
    tell(
        "Nothing was written: this was a dry run."
        if dry_run
        else f"Carried into: {done}. Left as they were: {left}."
    )
    tell(f"Change what is in conflict in {here.label} by hand, then run:")
    say(f"  {command_with(source, [*dict.fromkeys(solved)])}")
    print(colour(f"Stopped at a conflict in {here.label}.", "red", sys.stderr), file=sys.stderr)
    return 1


def closing(root: Path) -> None:
    """Say whether the manifest still describes the steps, and what to do if not."""
    found = problems(root)
    if not found:
        tell(f"Done. {NAME} describes the steps as they are now.")
        return
    tell(f"Done. The steps and {NAME} do not agree:")
    for text in found:
        say("\n".join(paragraph(f"- {text}", "  ")))
    tell(
        f"Put {NAME} right where it is behind: a new file stands in the adds of the step that "
        "brings it, a renamed one goes by its new name everywhere. Then: make drift"
    )


def propagate(
    wanted: str, by_hand: Sequence[str] = (), dry_run: bool = False, root: Path = ROOT
) -> int:
    """Carry what changed in a step since the last commit into each later step.

    Files in `by_hand` (`step02_groups/chat/urls.py`) were changed there by hand. Nothing is
    written in a `dry_run`. Returns the exit code: 1 at a conflict, else 0. Raises UserError
    where there is nothing to compare with, or no later step.
    """
    source = find_step(wanted, root)
    entries = load(root)
    later = [step for step in all_steps(root) if step.number > source.number]
    if not later:
        raise UserError(f"{source.label} is the last step: there is none to carry changes into.")
    with tempfile.TemporaryDirectory() as scratch:
        repository = Repository(root, Path(scratch), source)
        changes = repository.changes(source.label)
        due = [each for step in later for each in repository.changes(source.label, step.label)]
        announce(source, changes, due, repository)
        if not changes and not due:
            return 0
        hands = ByHand(by_hand, later, changes + due)
        origins = Origins(source)
        for step in later:
            changes = origins.choose(map(repository.changes, origins.labels))
            due = origins.choose(repository.changes(each, step.label) for each in origins.labels)
            plan = Plan(repository, step, entries)
            # What changed since the commit and is not due was carried before.
            there = [each for each in changes if not any(map(each.overlaps, due))]
            done = [each for each in [*due, *there] if hands.touch(each, step)]
            results = [Result("kept", f"{change.shown} (done by hand)") for change in done]
            results += [plan.carry(change) for change in due if change not in done]
            results += [Result("same", each.shown) for each in there if each not in done]
            conflicts = [result for result in results if result.word == "conflict"]
            shown = [*map(str, conflicts or results)] or ["  nothing to do"]
            say("\n".join(["", colour(step.label, "bold"), *shown]))
            if conflicts:
                solved = hands.names + [f"{step.label}/{each.path}" for each in conflicts]
                return stop_at(step, later, solved, source, dry_run)
            if not dry_run:
                carry_out(results, step, root)
                repository.note([*repository.changes(source.label), *changes, *due], step.label)
            for change in done:
                origins.replace(change, step)
    if dry_run:
        tell("Nothing was written: this was a dry run.")
    else:
        closing(root)
    return 0
