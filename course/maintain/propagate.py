"""`make propagate`: carry the uncommitted changes of one step into each later step.

A tree is the folder of a step, or the folder of the interim files of one part. In a scratch copy of
each later tree, `git apply --3way` applies the changes of one tree. If no file of the copy has a
conflict, the later tree gets the result; else the tree stays as it is.

`.course/carried.json` notes what was carried since the last commit, and each file that did not
take a change. So the next run carries only newer changes, and a solved conflict is not asked again.
"""

import json
import os
import re
import shlex
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from course.core.environment import fingerprint
from course.core.manifest import INTERIM, README
from course.core.steps import ROOT, all_steps, find_step
from course.core.terminal import UserError, colour, say

MEMORY = Path(".course") / "carried.json"
RIGHT, WAITS = "right", "waits"
WORDS = {"A": "added", "D": "deleted", "M": "changed", "R": "renamed"}
PATCH = ("-p", "--binary", "--full-index")
SETTINGS = ("core.safecrlf=false", "merge.conflictStyle=diff3", "rerere.enabled=false")
# A conflict in a file: our lines, then the lines before the change and after it.
CONFLICT = re.compile(r"(?ms)^<{7} ours\r?\n(.*?)^\|{7} base(\r?\n.*?)^>{7} theirs\r?\n")
# The record of the runs since the last commit: `head` is the last commit's version of the steps,
# and `carried` gives git's tree of all files when one tree took the changes of another.
# `notes` describes each file that did not take a change. `source` is the earlier file that has the
# change, `known` has the lines of the change and of its conflicts, none after a commit. `state` is
# a hash of the file at its conflict, because an edit solves the conflict; WAITS if only another
# file of the tree has a conflict; RIGHT if the file needs no change.
Memory = dict[str, Any]


class Change(NamedTuple):
    """The change of a file: git's letter, the old and the new path, the patch, and its lines."""

    letter: str
    old: str
    path: str
    patch: str
    lines: str  # without those that depend on the rest of the file


def recall(root: Path) -> Memory:
    """Return the record of the runs in the course at `root`."""
    kept = json.loads((root / MEMORY).read_text("utf-8")) if (root / MEMORY).exists() else {}
    return {"head": "", "carried": {}, "notes": {}} | kept


def keep(memory: Memory, root: Path) -> None:
    """Write the record down."""
    (root / MEMORY).parent.mkdir(exist_ok=True)
    (root / MEMORY).write_text(json.dumps(memory, indent=1), "utf-8")


def state(file: Path) -> str:
    """Return a hash of a file, also of a missing file."""
    return fingerprint(file) if file.is_file() else "missing"


def lacking(memory: Memory, root: Path) -> list[str]:
    """Return the files that still lack a change."""
    return [n for n, note in memory["notes"].items() if note["state"] in (WAITS, state(root / n))]


def remind(root: Path = ROOT) -> int:
    """Name each file that lacks a change; return the exit code, 1 if there is such a file."""
    memory = recall(root)
    for name in lacking(memory, root):
        say(
            f"{name} lacks the change of {memory['notes'][name]['source']}. Carry it again, change "
            f"the file by hand, or declare it right: make propagate RIGHT={shlex.quote(name)}"
        )
    return 1 if lacking(memory, root) else 0


def declare_right(wanted: str, root: Path = ROOT) -> int:
    """Note that the file `wanted` needs no change; raise UserError for an unknown file."""
    memory, name = recall(root), wanted.replace("\\", "/").removeprefix("./")
    if name not in memory["notes"]:
        raise UserError(f"{name} lacks no change: name a file as make drift names it.")
    memory["notes"][name]["state"] = RIGHT
    keep(memory, root)
    say(f"{name} is right as it is.")
    return 0


class Git:
    """Git in a folder, with more environment variables."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.env = os.environ | {"GIT_LITERAL_PATHSPECS": "1", "LC_ALL": "C"} | variables

    def ask(self, *command: str, told: str = "") -> str:
        """Run git with the input `told`; return its output, or raise UserError if it fails."""
        words = ["git", *(word for setting in SETTINGS for word in ("-c", setting)), *command]
        sent, where = told.encode("utf-8", "surrogateescape"), self.folder
        try:
            done = subprocess.run(words, cwd=where, env=self.env, input=sent, capture_output=True)
        except FileNotFoundError:
            raise UserError("make propagate needs git: install it, and run it again.") from None
        if done.returncode:
            said = re.findall(rb"(?m)^(?:error|warning|fatal): (.*)", done.stderr)
            why = b"".join(said[:1]).decode(errors="replace")
            raise UserError(f"git {command[0]} failed. It said: {why}")
        return done.stdout.decode("utf-8", "surrogateescape")


def all_trees(root: Path) -> list[str]:
    """Return the trees in order: before each step the interim files of its parts."""
    found = []
    for step in all_steps(root):
        parts = sorted((root / INTERIM / step.label).glob("part*"))
        found += [f"{INTERIM}/{step.label}/{part.name}" for part in parts] + [step.label]
    return found


@cache
def changes(folder: Path, base: str, until: str) -> list[Change]:
    """Return the changes in the folder of a tree between two of git's trees.

    Each step writes a README.md of its own, so that file is left out. A new interim file is left
    out as well, because each later tree has its own version of that file.
    """
    options = ("-r", "-M", "-z", "--raw", *PATCH, "--relative", "--diff-filter=ADMR")
    listing, _, patches = Git(folder).ask("diff-tree", *options, base, until).partition("\0\0")
    fields, found = iter(listing.split("\0")), []
    for patch in re.split(r"(?m)^(?=diff --git )", patches)[1:]:
        letter, old = next(fields).split()[-1][0], next(fields)
        path = next(fields) if letter == "R" else old
        lines = re.sub(r"(?m)^(?: |@@|index |similarity ).*\n", "", patch)
        if path != README and (letter == "M" or folder.name.startswith("step")):
            found.append(Change(letter, old, path, patch, lines))
    return found


class Carrier:
    """Carries the changes of the tree `source` in the course at `root`."""

    def __init__(self, root: Path, source: str, scratch: Path) -> None:
        """Add the files to an index in the folder `scratch`; raise UserError if git cannot."""
        self.root, self.source, self.scratch = root, source, scratch
        trees, git = all_trees(root), Git(root)
        try:
            head = git.ask("ls-tree", "HEAD", "--", *sorted({t.split("/")[0] for t in trees}))
        except UserError as error:
            raise UserError(f"make propagate finds no last commit in {root}. {error}") from None
        if git.ask("ls-files", "--unmerged"):
            raise UserError("Git has not finished merging: solve its conflicts and commit first.")
        self.prefix = git.ask("rev-parse", "--show-prefix").rstrip("\n")
        self.repository = git.ask("rev-parse", "--absolute-git-dir").rstrip("\n")
        git.env["GIT_INDEX_FILE"] = str(scratch / "index")
        git.ask("read-tree", "HEAD")
        git.ask("add", "--all", "--", *trees)
        self.work = git.ask("write-tree").strip()
        self.memory = recall(root)
        self.lacking = lacking(self.memory, root)
        if self.memory["head"] != head:  # after a commit, only a file that lacks a change is noted
            notes = {name: self.memory["notes"][name] | {"known": []} for name in self.lacking}
            self.memory = {"head": head, "carried": {}, "notes": notes}
        self.notes, self.carried = self.memory["notes"], self.memory["carried"]

    def is_solution(self, target: str, own: str) -> bool:
        """Tell whether `own` has the solution of a conflict, which `target` did not take yet."""
        is_by_hand = own in self.notes and own not in self.lacking
        is_first = f"{self.source} {target}" not in self.carried
        return is_by_hand and is_first and self.notes[own]["state"] != RIGHT

    def take(self, target: str, change: Change, copy: Git) -> tuple[str, str, list[str]]:
        """Apply a change to the copy of a tree; return a word, a text and new conflicts."""
        name, file = f"{target}/{change.path}", copy.folder / change.path
        note, old = self.notes.get(name, {"state": "", "known": []}), copy.folder / change.old
        is_solution = self.is_solution(target, f"{self.source}/{change.path}")
        if change.letter == "R" and file.is_file() and not old.is_file():
            # An earlier run has renamed the file, but perhaps the source has changed it since.
            old.parent.mkdir(parents=True, exist_ok=True)
            copy.ask("mv", change.path, change.old)
        if change.letter != "A" and not old.is_file():
            return "left out", f": {target} has no such file", []
        if note["state"] == RIGHT and (is_solution or change.lines in note["known"]):
            return "kept", ": declared right, so nothing is carried", []
        try:
            copy.ask("apply", "--3way", "--whitespace=nowarn", told=change.patch)
            return WORDS[change.letter], "", []
        except UserError as error:
            why = "deleted there, and different here" if change.letter == "D" else str(error)
            why = f"another {change.path} is there" if change.letter == "R" else why
            text, conflicts = f"\n    {why}", [change.lines]
        marked = file.read_bytes().decode("utf-8", "surrogateescape") if file.is_file() else ""
        if CONFLICT.search(marked):
            conflicts = [found[2] for found in CONFLICT.finditer(marked)]
            # Git gives each conflict the number of its first line in our file.
            shown = copy.ask("diff-files", "--cc", "-U0", "--", change.path).rstrip("\n")
            shown = shown[shown.index("\n@@@") :].replace("\n", "\n      ")
            text = re.sub(r"(?m)^      @@@ -(\d+).*", r"    line \1:", shown)
            ours = CONFLICT.sub(r"\1", marked)  # the file keeps its own lines at the conflicts
            file.write_bytes(ours.encode("utf-8", "surrogateescape"))
        is_answered = name in self.notes and name not in self.lacking
        if is_answered and (is_solution or {*conflicts} <= {*note["known"]}):
            note["known"] += conflicts
            return "kept", text, []
        return "conflict", text, conflicts

    def carry(self, target: str, dry_run: bool) -> tuple[bool, bool]:
        """Carry the changes into one tree; return if there is news, and if there is a conflict."""
        pair, folder = f"{self.source} {target}", self.scratch / target
        own = changes(self.root / self.source, self.carried.get(pair, "HEAD"), self.work)
        if target.startswith(INTERIM):
            there = self.root / target
            own = [c for c in own if (there / c.old).is_file() or (there / c.path).is_file()]
        if not own:
            self.settle(target)
            return False, False
        folder.mkdir(parents=True)
        places = {"GIT_DIR": self.repository, "GIT_WORK_TREE": str(folder)}
        copy = Git(folder, **places, GIT_INDEX_FILE=f"{folder}.index")
        before = f"{self.work}:{self.prefix}{target}"
        copy.ask("read-tree", "--reset", "-u", before)
        found = [(change, *self.take(target, change, copy)) for change in own]
        copy.ask("add", "--update", ".")
        options = ("--cached", "--raw", "-z", *PATCH)
        listing, _, patch = copy.ask("diff-index", *options, before).partition("\0\0")
        changed = listing.split("\0")
        has_conflict, shown = any(conflicts for *_, conflicts in found), []
        for change, word, text, conflicts in found:
            name, is_taken = f"{target}/{change.path}", word in WORDS.values()
            if is_taken and change.path not in changed:
                continue
            if conflicts or (has_conflict and is_taken and name not in self.notes):
                known = self.notes.get(name, {"known": []})["known"]
                self.notes[name] = {
                    "source": f"{self.source}/{change.path}",
                    "state": state(self.root / name) if conflicts else WAITS,
                    "known": [change.lines, *conflicts, *known],
                }
            both = change.path if change.letter != "R" else f"{change.old} → {change.path}"
            shown.append(f"  {'waits' if has_conflict and is_taken else word:<9} {both}{text}")
        if shown:
            reason = ": left as it is, because of a conflict" if has_conflict else ""
            say("\n".join([colour(target + reason, "bold"), *shown]))
        if not has_conflict and not dry_run:
            if patch:
                into = f"--directory={self.prefix}{target}"
                Git(self.root).ask("apply", "--whitespace=nowarn", into, told=patch)
            self.settle(target)
            self.carried[pair] = self.work
        return bool(shown), has_conflict

    def settle(self, target: str) -> None:
        """Note that a tree has the changes now; a file that lacks another change lacks it still."""
        for name in self.lacking:
            if name.startswith(f"{target}/"):
                own, note = self.source + name.removeprefix(target), self.notes[name]
                if note["source"] == own and note["known"]:
                    del self.notes[name]
                elif note["state"] != WAITS and not (
                    self.is_solution(target, own)
                    and {*note["known"]} <= {*self.notes[own]["known"]}
                ):
                    note["state"] = state(self.root / name)


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
        carrier = Carrier(root, source, Path(scratch).resolve())
        outcomes = [carrier.carry(target, dry_run) for target in later]
        if not any(has_news for has_news, _ in outcomes):
            if not changes(root / source, "HEAD", carrier.work):
                raise UserError(f"{source} has no changes to carry since the last commit.")
            say(f"Each later step has the changes of {source}.")
    if dry_run:
        say("Nothing was written: this was a dry run.")
        return 1 if any(has_conflict for _, has_conflict in outcomes) else 0
    keep(carrier.memory, root)
    return remind(root)
