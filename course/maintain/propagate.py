"""`make propagate`: carry the changes of one step into each later step.

A tree is the folder of a step, or the folder of the interim files of one part. Git compares one
tree with the last commit, and `git apply --3way` carries the difference to each later tree. Git
works in an index of ours, so the reader's index stays as it is. If one file of a later tree has
a conflict, nothing is written in that tree.

`.course/propagate.json` notes which changes each file has taken from the earlier trees. The next
run carries only newer changes, and a file that missed a change is not forgotten.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from contextlib import suppress
from difflib import SequenceMatcher, unified_diff
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from course.core.steps import ROOT, all_steps, find_step
from course.core.terminal import UserError, colour, say

MEMORY = Path(".course") / "propagate.json"
INTERIM = "course/interim/"
RIGHT, WAITS = "right", "waits"
WORDS = {"A": "added", "D": "deleted", "M": "changed", "R": "renamed"}
# A conflict in the format of `git merge-file --diff3`: our lines, the base lines, their lines.
MARKS = r"^<{40}.*\n((?s:.*?))^\|{40}.*\n((?s:.*?))^={40}\r?\n((?s:.*?))^>{40}.*\n"
CONFLICT = re.compile(MARKS.encode(), re.MULTILINE)


class Note(NamedTuple):
    """A change that goes from an earlier file to a later file of the same path.

    A version is git's mode and id, `100644 <id>`, or "" for a missing file.
    """

    head: str  # the earlier file in the last commit
    base: str  # the earlier file before the change
    carried: str  # the earlier file with the change
    # The later file without the change: an edit of this version solves a conflict. WAITS if only
    # another file of the tree has a conflict. RIGHT if the later file needs no change. None if the
    # later file had the change.
    lacking: str | None
    merged: bool  # git changed the later file, not a person


class Result(NamedTuple):
    """The outcome of one change in a later tree."""

    word: str
    text: str  # the conflicts
    files: dict[str, str]  # the new version of each file, by name


Notes = dict[str, dict[str, Note]]  # by the later file, then by the earlier one


def recall(root: Path) -> Notes:
    """Return the notes of the course at `root`."""
    file = root / MEMORY
    kept = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return {name: {old: Note(*note) for old, note in notes.items()} for name, notes in kept.items()}


def keep(notes: Notes, root: Path) -> None:
    """Write the notes down."""
    (root / MEMORY).parent.mkdir(exist_ok=True)
    (root / MEMORY).write_text(json.dumps(notes, indent=1), "utf-8")


def version(file: Path) -> str:
    """Return the version of a file on disk."""
    if not file.is_file():
        return ""
    content = file.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return f"{'100755' if os.access(file, os.X_OK) else '100644'} {blob}"


def lacks(root: Path, name: str, note: Note) -> bool:
    """Tell whether the later file `name` still lacks the change of a note."""
    return note.lacking in (WAITS, version(root / name))


def waiting(notes: Notes, root: Path, name: str) -> list[str]:
    """Return the earlier files with a change that the file `name` lacks."""
    found = [(old, note) for old, note in notes.get(name, {}).items() if lacks(root, name, note)]
    return [old for old, note in found if version(root / old) != note.base]


def remind(root: Path = ROOT) -> int:
    """Name each file that lacks a change; return the exit code, 1 if there is such a file."""
    notes, count = recall(root), 0
    for name in notes:
        for old in waiting(notes, root, name)[:1]:
            count += 1
            say(
                f"{name} lacks the change of {old}. Carry it again, change the file by hand, or "
                f"declare it right: make propagate RIGHT={shlex.quote(name)}"
            )
    return 1 if count else 0


def declare_right(wanted: str, root: Path = ROOT) -> int:
    """Note that the file `wanted` needs no change; raise UserError for an unknown file."""
    notes, name = recall(root), PurePosixPath(wanted.replace("\\", "/")).as_posix()
    if name not in notes:
        raise UserError(f"No change was carried to {name}: name a file as make drift names it.")
    notes[name] = {old: note._replace(lacking=RIGHT) for old, note in notes[name].items()}
    keep(notes, root)
    say(f"{name} is right as it is.")
    return 0


def all_trees(root: Path) -> list[str]:
    """Return the trees in order: before each step the interim files of its parts."""
    found = []
    for step in all_steps(root):
        parts = sorted((root / INTERIM / step.label).glob("part*"))
        found += [f"{INTERIM}{step.label}/{part.name}" for part in parts] + [step.label]
    return found


class Carrier:
    """Carries the changes of the tree `source` in the course at `root`."""

    def __init__(self, root: Path, source: str, scratch: Path, dry_run: bool) -> None:
        """Read the last commit and the working files; raise UserError if git cannot do so."""
        self.root, self.source, self.scratch, self.dry_run = root, source, scratch, dry_run
        self.env = os.environ | {"GIT_LITERAL_PATHSPECS": "1"}
        if not shutil.which("git"):
            raise UserError("make propagate needs git: install it, and run the command again.")
        try:
            self.prefix = self.ask("rev-parse", "--show-prefix")
            self.head = self.versions("HEAD")
        except UserError as error:
            raise UserError(f"make propagate finds no last commit in {root}. {error}") from None
        if self.git("ls-files", "--unmerged").stdout:
            raise UserError("Git has not finished merging: solve its conflicts and commit first.")
        index = root / self.ask("rev-parse", "--git-path", "index")
        objects = root / self.ask("rev-parse", "--git-path", "objects")
        if index.exists():
            shutil.copy2(index, scratch / "work")
        if dry_run:
            (scratch / "objects" / "info").mkdir(parents=True)
            store = os.fsencode(f"{objects.resolve()}\n")
            (scratch / "objects" / "info" / "alternates").write_bytes(store)
            self.env["GIT_OBJECT_DIRECTORY"] = str(scratch / "objects")
        self.git("add", "--all", "--", *all_trees(root), index="work")
        self.tree = self.ask("write-tree", index="work")
        self.work = self.versions(self.tree)
        # A committed change needs no note, unless a later file still lacks the change.
        self.notes = {
            name: {
                old: note
                for old, note in notes.items()
                if note.head == self.head.get(old, "") or lacks(root, name, note)
            }
            for name, notes in recall(root).items()
        }

    def git(
        self, *command: str, told: bytes = b"", index: str = "", cwd: str | Path = "", ok: int = 0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run git in the folder `cwd` of the root, with our index `index` if given.

        Raises UserError with git's last line if the exit code is greater than `ok`.
        """
        env = self.env | ({"GIT_INDEX_FILE": str(self.scratch / index)} if index else {})
        words, folder = ("git", "-c", "core.safecrlf=false", *command), self.root / cwd
        done = subprocess.run(words, cwd=folder, env=env, input=told, capture_output=True)
        if done.returncode > ok:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise UserError(f"git {command[0]} failed. It said: {' '.join(said[-1:])}")
        return done

    def ask(self, *command: str, told: bytes = b"", index: str = "") -> str:
        """Return the line that git prints."""
        return os.fsdecode(self.git(*command, told=told, index=index).stdout).rstrip("\n")

    def versions(self, tree: str) -> dict[str, str]:
        """Return the version of each file in one of git's trees."""
        lines = self.ask("ls-tree", "-r", "-z", tree).split("\0")[:-1]
        entries = (line.split("\t", 1) for line in lines)
        return {path: " ".join(about.split()[::2]) for about, path in entries}

    def put(self, files: dict[str, str], index: str) -> None:
        """Put versions of files into an index."""
        gone = f"0 {'0' * 40}"
        # Sorted, so that a file is gone before a folder takes its name.
        lines = sorted(f"{files[path] or gone}\t{self.prefix}{path}\0" for path in files)
        told = os.fsencode("".join(lines))
        self.git("update-index", "-z", "--index-info", told=told, index=index)

    def diff(self, since: str, *arguments: str) -> bytes:
        """Return git's comparison of the source with an earlier version of git's tree."""
        command = ("diff-tree", "-r", "-M", "--relative", "--no-ext-diff", since, self.tree)
        return self.git(*command, *arguments, cwd=self.source).stdout

    def changes(self, since: str) -> list[tuple[str, str, str]]:
        """Return git's letter, the old and the new path of each file that changed.

        Each step writes a README.md of its own, so that file is left out. A new interim file is
        left out as well, because each later tree has its own version of that file.
        """
        letters = "M" if self.source.startswith(INTERIM) else "ADMR"
        listing = self.diff(since, "-z", "--name-status", f"--diff-filter={letters}")
        fields = iter(os.fsdecode(listing).split("\0")[:-1])
        found = []
        for status in fields:
            old = next(fields)
            found.append((status[0], old, next(fields) if status[0] == "R" else old))
        return [change for change in found if change[1] != "README.md"]

    def merge(self, base: str, ours: str, theirs: str) -> tuple[str, str]:
        """Merge versions of a file, with our lines in each conflict; describe the conflicts."""
        if base in (ours, theirs):
            return theirs if base == ours else ours, ""
        for name, about in (("ours", ours), ("base", base), ("theirs", theirs)):
            content = self.git("cat-file", "blob", about.split()[1]).stdout if about else b""
            (self.scratch / name).write_bytes(content)
        command = ("merge-file", "-p", "--diff3", "--marker-size=40", "ours", "base", "theirs")
        done = self.git(*command, cwd=self.scratch, ok=255)
        if done.returncode > 127 or not theirs:
            return ours, f"\n    {'no text' if theirs else 'deleted'} there, and different here"
        merged, text = CONFLICT.sub(rb"\1", done.stdout), ""
        sides = (self.scratch / "ours").read_bytes().split(b"\n"), merged.split(b"\n")
        blocks = SequenceMatcher(None, *sides, autojunk=False).get_matching_blocks()
        for match in CONFLICT.finditer(done.stdout):
            parts = [part.decode(errors="replace").splitlines() for part in match.groups()]
            at = CONFLICT.sub(rb"\1", done.stdout[: match.start()]).count(b"\n")
            first = 1 + max((b.a + min(at - b.b, b.size) for b in blocks if b.b <= at), default=0)
            last = f"-{first + len(parts[0]) - 1}" if len(parts[0]) > 1 else ""
            change = [*unified_diff(parts[1], parts[2], n=1, lineterm="")][3:]
            title = f"    line{'s' if last else ''} {first}{last}:"
            text += "".join(f"\n{line}" for line in [title, *(f"      {line}" for line in change)])
        blob = self.ask("hash-object", "-w", "--stdin", told=merged)
        return f"{(ours or theirs).split()[0]} {blob}", text

    def has(self, name: str, old: str) -> bool:
        """Tell whether a file has taken the change of an earlier file, by merge or by hand."""
        note = self.notes.get(name, {}).get(old)
        return bool(note and note.lacking != RIGHT and not lacks(self.root, name, note))

    def base(self, target: str, path: str) -> tuple[str, bool]:
        """Return the version of a source's file that `target` has taken already.

        The second value is true if both files took the same change of an earlier tree, the source
        by hand. The lines of the source then do not show which of them belong to the change.
        """
        own, name = f"{self.source}/{path}", f"{target}/{path}"
        notes, taken, by_hand = self.notes.get(name, {}), self.head.get(own, ""), False
        if own in notes:
            is_lacking = lacks(self.root, name, notes[own])
            taken = notes[own].base if is_lacking else notes[own].carried
        for old, note in self.notes.get(own, {}).items():
            if old in notes and not lacks(self.root, name, notes[old]) and self.has(own, old):
                if note.merged:
                    merged, conflicts = self.merge(note.head, taken, note.carried)
                    taken = taken if conflicts else merged
                else:
                    by_hand |= own not in notes
        return taken, by_hand

    def apply(self, since: str, target: str, letter: str, old: str, new: str) -> Result:
        """Apply the change of a file since one of git's trees; return the result."""
        names = f"{target}/{old}", f"{target}/{new}"
        now = {name: self.work.get(name, "") for name in names}
        base, by_hand = self.base(target, old)
        if by_hand and RIGHT in (note.lacking for note in self.notes[names[0]].values()):
            return Result("kept", ": declared right, so nothing is carried", now)
        patch = self.diff(since, "-p", "--full-index", "--", old, new)
        shutil.copyfile(self.scratch / "work", self.scratch / "index")
        place = f"--directory={self.prefix}{target}"
        command = ("apply", "--cached", "--3way", "--whitespace=nowarn", place)
        done = self.git(*command, told=patch, index="index", ok=255)
        file = self.root / names[1]
        is_taken = os.path.lexists(file) or any(map(Path.is_file, file.parents))
        if done.returncode == 0 and (now[names[1]] or not is_taken):
            made = self.versions(self.ask("write-tree", index="index"))
            files = {name: made.get(name, "") for name in names}
            return Result(WORDS[letter] if files != now else "same", "", files)
        theirs = self.work.get(f"{self.source}/{new}", "")
        merged, text = self.merge(base, now[names[0]], theirs)
        text = text or f"\n    another {new} is there"
        if by_hand:
            return Result("kept", text, now | ({names[0]: merged} if letter == "M" else {}))
        return Result("conflict", text, now)

    def carry(self, target: str) -> tuple[int, bool]:
        """Carry the change into one tree; return how many files changed, and if one conflicts."""
        paths = [name[len(target) + 1 :] for name in self.notes if name.startswith(f"{target}/")]
        self.git("read-tree", "HEAD", index="since")
        self.put({f"{self.source}/{path}": self.base(target, path)[0] for path in paths}, "since")
        since = self.ask("write-tree", index="since")
        changes, is_interim = self.changes(since), target.startswith(INTERIM)
        results: dict[str, Result] = {}
        for letter, old, new in changes:
            shown = old if old == new else f"{old} → {new}"
            if f"{target}/{old}" in self.work or (letter == "A" and not is_interim):
                results[shown] = self.apply(since, target, letter, old, new)
            elif not is_interim:
                results[shown] = Result("left out", f": {target} has no such file", {})
        has_conflict = any(result.word == "conflict" for result in results.values())
        reason = ": left as it is, because of a conflict" if has_conflict else ""
        if results:
            say(colour(target + reason, "bold"))
        for shown, (word, text, _) in results.items():
            word = "waits" if has_conflict and word in WORDS.values() else word
            say(f"  {word:<9} {shown}{text}")
        if not self.dry_run:
            self.settle(target, list(results.values()), has_conflict)
        return len(changes), has_conflict

    def settle(self, target: str, results: list[Result], has_conflict: bool) -> None:
        """Write the files of a target, unless one has a conflict; note the changes they took."""
        found = []
        for word, _, files in results:
            for name in files:
                own = self.source + name.removeprefix(target)
                lacking = None
                if word == "conflict" or files[name] != self.work.get(name, ""):
                    is_waiting = has_conflict and word != "conflict"
                    lacking = WAITS if is_waiting else version(self.root / name)
                note = Note(
                    head=self.head.get(own, ""),
                    base=self.base(target, name.removeprefix(f"{target}/"))[0],
                    carried=self.work.get(own, ""),
                    lacking=lacking,
                    merged=word != "kept" and not has_conflict,
                )
                found.append((name, own, note, waiting(self.notes, self.root, name)))
        if not has_conflict:
            self.write({name: files[name] for _, _, files in results for name in files})
        for name, own, note, others in found:
            notes = self.notes.setdefault(name, {})
            for other in others:
                # The source may have brought another change that the file was waiting for.
                lacking = None if self.has(own, other) else version(self.root / name)
                if lacking is None or notes[other].lacking != WAITS:
                    notes[other] = notes[other]._replace(lacking=lacking)
            notes[own] = note

    def write(self, files: dict[str, str]) -> None:
        """Write those versions of files that are not on disk yet."""
        new = {name: files[name] for name in files if files[name] != self.work.get(name, "")}
        for name in new:
            if not new[name]:
                (self.root / name).unlink()
                with suppress(OSError):  # a folder that is not empty
                    os.removedirs((self.root / name).parent)
        self.put(new, index="work")
        told = os.fsencode("".join(f"{name}\0" for name in new if new[name]))
        self.git("checkout-index", "-f", "-z", "--stdin", told=told, index="work")


def propagate(
    wanted: str, part: str | None = None, dry_run: bool = False, root: Path = ROOT
) -> int:
    """Carry the changes of a step, or of the interim files of its part, into each later tree.

    A `dry_run` writes nothing. Returns the exit code: 1 if a file lacks a change, else 0.
    Raises UserError if there is nothing to carry, or no later tree.
    """
    source, trees = find_step(wanted, root).label, all_trees(root)
    if part:
        source = f"{INTERIM}{source}/part{part:0>2}"
        if source not in trees:
            raise UserError(f"There is no folder {source}: name a part that has interim files.")
    later = trees[trees.index(source) + 1 :]
    if not later:
        raise UserError(f"{source} is the last step: no later step can take its changes.")
    with tempfile.TemporaryDirectory() as scratch:
        carrier = Carrier(root, source, Path(scratch), dry_run)
        counts = [carrier.carry(target) for target in later]
        if not any(changes for changes, _ in counts):
            if not carrier.changes("HEAD"):
                raise UserError(f"{source} has no changes to carry since the last commit.")
            say(f"Each later step has the changes of {source}.")
        if dry_run:
            say("Nothing was written: this was a dry run.")
            return 1 if any(conflicts for _, conflicts in counts) else 0
        keep(carrier.notes, root)
    return remind(root)
