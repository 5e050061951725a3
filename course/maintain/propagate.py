"""`make propagate`: carry the uncommitted changes of one step into each later step.

A tree is the folder of a step, or the folder of the interim files of one part. In an index of our
own, `git apply --3way` applies the changes of one tree to each later tree. If no file of a later
tree has a conflict, `git apply` writes the result; else the tree stays as it is.

`.course/propagate.json` notes what was carried since the last commit, and each file that did not
take a change. So the next run carries only newer changes, and a solved conflict is not asked again.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass, replace
from difflib import SequenceMatcher, unified_diff
from pathlib import Path, PurePosixPath

from course.core.environment import fingerprint
from course.core.manifest import INTERIM, README
from course.core.steps import ROOT, all_steps, find_step
from course.core.terminal import UserError, colour, say

MEMORY = Path(".course") / "propagate.json"
RIGHT, TAKEN, WAITS = "right", "taken", "waits"
WORDS = {"A": "added", "D": "deleted", "M": "changed", "R": "renamed"}
PATCH = ("-p", "--binary", "--full-index")
# A conflict in the format of `git merge-file --diff3`: our lines, the base lines, their lines.
CONFLICT = re.compile(
    rb"(?m)^<{40}.*\n((?s:.*?))^\|{40}.*\n((?s:.*?))^={40}\r?\n((?s:.*?))^>{40}.*\n"
)
Done = subprocess.CompletedProcess[bytes]


@dataclass
class Note:
    """A file that did not take a change."""

    source: str  # the earlier file, which has the change
    # A hash of the file without the change: an edit solves the conflict. WAITS if only another file
    # of the tree has a conflict, TAKEN if the file has the change now, RIGHT if it needs no change.
    lacking: str
    hunks: list[str]  # the parts of the change that did not apply


class Memory:
    """The record of the runs since the last commit in the course at `root`."""

    def __init__(self, root: Path) -> None:
        self.root, file = root, root / MEMORY
        kept = json.loads(file.read_text("utf-8")) if file.exists() else {}
        self.head: str = kept.get("head", "")  # the version of the steps in the last commit
        self.carried: dict[str, str] = kept.get("carried", {})  # git's tree of all files, by source
        self.notes = {name: Note(**note) for name, note in kept.get("notes", {}).items()}

    def keep(self) -> None:
        """Write the memory down."""
        notes = {name: asdict(note) for name, note in self.notes.items()}
        kept = {"head": self.head, "carried": self.carried, "notes": notes}
        (self.root / MEMORY).parent.mkdir(exist_ok=True)
        (self.root / MEMORY).write_text(json.dumps(kept, indent=1), "utf-8")

    def lacking(self) -> list[str]:
        """Return the files that still lack a change."""
        return [n for n in self.notes if self.notes[n].lacking in (WAITS, state(self.root / n))]


def state(file: Path) -> str:
    """Return a hash of a file, also of a missing file."""
    return fingerprint(file) if file.is_file() else "missing"


def remind(root: Path = ROOT) -> int:
    """Name each file that lacks a change; return the exit code, 1 if there is such a file."""
    memory = Memory(root)
    for name in memory.lacking():
        say(
            f"{name} lacks the change of {memory.notes[name].source}. Carry it again, change the "
            f"file by hand, or declare it right: make propagate RIGHT={shlex.quote(name)}"
        )
    return 1 if memory.lacking() else 0


def declare_right(wanted: str, root: Path = ROOT) -> int:
    """Note that the file `wanted` needs no change; raise UserError for an unknown file."""
    memory, name = Memory(root), PurePosixPath(wanted.replace("\\", "/")).as_posix()
    if name not in memory.notes:
        raise UserError(f"{name} lacks no change: name a file as make drift names it.")
    memory.notes[name].lacking = RIGHT
    memory.keep()
    say(f"{name} is right as it is.")
    return 0


def all_trees(root: Path) -> list[str]:
    """Return the trees in order: before each step the interim files of its parts."""
    found = []
    for step in all_steps(root):
        parts = sorted((root / INTERIM / step.label).glob("part*"))
        found += [f"{INTERIM}/{step.label}/{part.name}" for part in parts] + [step.label]
    return found


def complaint(done: Done) -> str:
    """Return git's first error or warning."""
    found = re.findall(rb"^(?:error|warning|fatal): (.*)", done.stderr, re.MULTILINE)
    return found[0].decode(errors="replace") if found else ""


def describe(marked: bytes, ours: bytes) -> tuple[list[str], str]:
    """Return each hunk that git marked as a conflict, and a text with its lines in our file."""
    merged, hunks, text = CONFLICT.sub(rb"\1", marked), [], ""
    sides = ours.split(b"\n"), merged.split(b"\n")
    blocks = SequenceMatcher(None, *sides, autojunk=False).get_matching_blocks()
    for match in CONFLICT.finditer(marked):
        parts = [part.decode(errors="replace").splitlines() for part in match.groups()]
        at = CONFLICT.sub(rb"\1", marked[: match.start()]).count(b"\n")
        first = 1 + max((b.a + min(at - b.b, b.size) for b in blocks if b.b <= at), default=0)
        last = f"-{first + len(parts[0]) - 1}" if len(parts[0]) > 1 else ""
        change = [*unified_diff(parts[1], parts[2], n=1, lineterm="")][3:]
        hunks.append("".join(f"\n      {line}" for line in change))
        text += f"\n    line{'s' if last else ''} {first}{last}:{hunks[-1]}"
    return hunks, text


class Carrier:
    """Carries the changes of the tree `source` in the course at `root`."""

    def __init__(self, root: Path, source: str, scratch: Path) -> None:
        """Add the files to an index in the folder `scratch`; raise UserError if git cannot."""
        self.root, self.source, self.scratch, trees = root, source, scratch, all_trees(root)
        self.env = os.environ | {"GIT_LITERAL_PATHSPECS": "1", "LC_ALL": "C"}
        if not shutil.which("git"):
            raise UserError("make propagate needs git: install it, and run the command again.")
        try:
            head = self.ask("ls-tree", "HEAD", "--", *sorted({t.split("/")[0] for t in trees}))
        except UserError as error:
            raise UserError(f"make propagate finds no last commit in {root}. {error}") from None
        if self.ask("ls-files", "--unmerged"):
            raise UserError("Git has not finished merging: solve its conflicts and commit first.")
        self.prefix = self.ask("rev-parse", "--show-prefix")
        self.env["GIT_INDEX_FILE"] = str(scratch / "index")
        self.git("read-tree", "HEAD")
        self.git("add", "--all", "--", *trees)
        self.work = self.ask("write-tree")
        self.memory = Memory(root)
        self.lacking, self.notes = self.memory.lacking(), self.memory.notes
        if self.memory.head != head:  # after a commit, only a file that lacks a change is noted
            self.memory.head, self.memory.carried = head, {}
            self.memory.notes = self.notes = {name: self.notes[name] for name in self.lacking}
        self.changes = self.since("HEAD")
        self.newer = self.since(self.memory.carried.get(source, "HEAD"))
        self.conflicts: dict[str, list[str]] = {}  # the hunks of each file in the present tree

    def git(self, *command: str, told: bytes = b"", cwd: str | Path = "", ok: int = 0) -> Done:
        """Run git with our index; raise UserError if its exit code is greater than `ok`."""
        words, folder = ("git", "-c", "core.safecrlf=false", *command), self.root / cwd
        done = subprocess.run(words, cwd=folder, env=self.env, input=told, capture_output=True)
        if done.returncode > ok:
            raise UserError(f"git {command[0]} failed. It said: {complaint(done)}")
        return done

    def ask(self, *command: str, told: bytes = b"", cwd: str = "") -> str:
        """Return the text that git prints."""
        return os.fsdecode(self.git(*command, told=told, cwd=cwd).stdout).removesuffix("\n")

    def since(self, base: str) -> list[tuple[str, str, str, str]]:
        """Return `base`, git's letter, the old and the new path of each change since a git tree.

        Each step writes a README.md of its own, so that file is left out. A new interim file is
        left out as well, because each later tree has its own version of that file.
        """
        options = ("-r", "-M", "-z", "--name-status", "--relative")
        listing = self.ask("diff-tree", *options, base, self.work, cwd=self.source)
        fields, found = iter(listing.split("\0")[:-1]), []
        for status in fields:
            old = next(fields)
            found.append((base, status[0], old, next(fields) if status[0] == "R" else old))
        letters = "M" if self.source.startswith(INTERIM) else "ADMR"
        return [change for change in found if change[1] in letters and change[2] != README]

    def is_answered(self, name: str) -> bool:
        """Tell whether a person has solved a conflict of a file; RIGHT is such an answer too."""
        note = self.notes.get(name)
        return bool(note and note.hunks and (note.lacking == WAITS or name not in self.lacking))

    def is_solved(self, name: str) -> bool:
        """Tell whether a person has solved a conflict of a file by hand."""
        return self.is_answered(name) and self.notes[name].lacking != RIGHT

    def take(self, target: str, base: str, letter: str, old: str, new: str) -> tuple[str, str]:
        """Apply a change to a file of `target` in our index; return a word and the conflicts."""
        own, name, place = f"{self.source}/{new}", f"{target}/{new}", f"{target}/{old}"
        note = self.notes.get(name)
        if letter != "A" and not (self.root / place).is_file():
            return "left out", f": {target} has no such file"
        is_right = note and note.lacking == RIGHT and base == "HEAD"
        if is_right and (self.is_solved(own) or not self.is_answered(name)):
            return "kept", ": declared right, so nothing is carried"
        diff = ("diff-tree", "-r", "-M", *PATCH, "--relative", base, self.work, "--", old, new)
        patch, into = self.git(*diff, cwd=self.source).stdout, f"--directory={self.prefix}{target}"
        apply = ("apply", "--cached", "--3way", "--whitespace=nowarn", into)
        done = self.git(*apply, told=patch, ok=255)
        if not done.returncode:
            return WORDS[letter], ""
        why = "deleted there, and different here" if letter == "D" else complaint(done)
        if letter in "AR" and (self.root / name).is_file():
            why = f"another {new} is there"
        hunks, text, marked = [state(self.root / own)], f"\n    {why}", b""
        if self.ask("ls-files", "--unmerged", "--", name):
            for stage in "123":
                side = self.git("cat-file", "blob", f":{stage}:./{name}", ok=255).stdout
                (self.scratch / stage).write_bytes(side)
            merge = ("merge-file", "-p", "--diff3", "--marker-size=40", "2", "1", "3")
            marked = self.git(*merge, cwd=self.scratch, ok=255).stdout
        if CONFLICT.search(marked):
            hunks, text = describe(marked, (self.scratch / "2").read_bytes())
        is_known = note and (self.is_solved(own) or set(hunks) <= set(note.hunks))
        if note and is_known and self.is_answered(name):
            self.git("reset", "-q", self.work, "--", place, name)
            if marked and old == new:  # the file keeps its own lines at the conflicts
                mode = self.ask("ls-files", "--stage", "--", name).split()[0]
                blob = self.ask("hash-object", "-w", "--stdin", told=CONFLICT.sub(rb"\1", marked))
                self.git("update-index", "--cacheinfo", f"{mode},{blob},{self.prefix}{name}")
            note.hunks += hunks
            return "kept", text
        self.conflicts[name] = hunks
        return "conflict", text

    def carry(self, target: str, dry_run: bool) -> tuple[bool, bool]:
        """Carry the changes into one tree; return if there is news, and if there is a conflict."""
        # A file that had a conflict may still lack the rest of the change.
        rest = [n for n, note in self.notes.items() if note.lacking not in (RIGHT, TAKEN)]
        changes = [change for change in self.changes if f"{target}/{change[3]}" in rest]
        changes += [change for change in self.newer if f"{target}/{change[3]}" not in rest]
        self.conflicts, found = {}, []
        for base, letter, old, new in changes:
            if (self.root / target / old).is_file() or not target.startswith(INTERIM):
                word, text = self.take(target, base, letter, old, new)
                shown = old if old == new else f"{old} → {new}"
                found.append((f"{target}/{new}", word, shown + text))
        index, which = ("diff-index", "--cached"), (self.work, "--", target)
        changed = self.ask(*index, "-z", "--name-only", "--relative", *which).split("\0")[:-1]
        if changed and not self.conflicts:
            options = ("--whitespace=nowarn", *(["--check"] if dry_run else []))
            self.git("apply", *options, told=self.git(*index, *PATCH, *which).stdout)
        for name, _, _ in found:
            self.note(name, f"{self.source}{name.removeprefix(target)}", name in changed)
        found = [each for each in found if each[1] not in WORDS.values() or each[0] in changed]
        if found:
            reason = ": left as it is, because of a conflict" if self.conflicts else ""
            say(colour(target + reason, "bold"))
        for _, word, text in found:
            say(f"  {'waits' if self.conflicts and word in WORDS.values() else word:<9} {text}")
        return bool(found), bool(self.conflicts)

    def note(self, name: str, own: str, has_news: bool) -> None:
        """Note whether the file `name` lacks the change of the file `own` now."""
        note, now = self.notes.get(name, Note(own, WAITS, [])), state(self.root / name)
        if name in self.conflicts:
            self.notes[name] = Note(own, now, self.conflicts[name] + note.hunks)
        elif self.conflicts:
            if has_news and name not in self.lacking:
                self.notes[name] = replace(note, lacking=WAITS)
        elif note.lacking != RIGHT and (note.source == own or self.is_solved(own)):
            note.lacking = TAKEN
        elif name in self.lacking and note.lacking != WAITS:
            note.lacking = now


def propagate(step: str, part: str | None = None, dry_run: bool = False, root: Path = ROOT) -> int:
    """Carry the changes of a step, or of the interim files of its part, into each later tree.

    A `dry_run` writes nothing. Returns the exit code: 1 if a file lacks a change, else 0.
    Raises UserError if there is nothing to carry, or no later tree.
    """
    source, trees = find_step(step, root).label, all_trees(root)
    if part:
        source = f"{INTERIM}/{source}/part{part:0>2}"
        if source not in trees:
            raise UserError(f"There is no folder {source}: name a part that has interim files.")
    later = trees[trees.index(source) + 1 :]
    if not later:
        raise UserError(f"{source} is the last step: no later step can take its changes.")
    with tempfile.TemporaryDirectory() as scratch:
        carrier = Carrier(root, source, Path(scratch))
        if not carrier.changes + carrier.newer:
            raise UserError(f"{source} has no changes to carry since the last commit.")
        outcomes = [carrier.carry(target, dry_run) for target in later]
    if not any(has_news for has_news, _ in outcomes):
        say(f"Each later step has the changes of {source}.")
    if dry_run:
        say("Nothing was written: this was a dry run.")
        return 1 if any(has_conflict for _, has_conflict in outcomes) else 0
    carrier.memory.carried[source] = carrier.work
    carrier.memory.keep()
    return remind(root)
