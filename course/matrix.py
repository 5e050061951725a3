"""What each step guarantees: `docs/guarantees.md`, written from the steps' tests.

A test's name is the guarantee in a few words, the first line of its docstring says the rest.
"""

import ast
import fnmatch
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from course.manifest import (
    NAME,
    TEST_FILE,
    Entry,
    Tree,
    broken_tests,
    load,
    lost_tests,
    named_tests,
    read_tree,
    retired_problems,
)
from course.steps import ROOT, Step, all_steps
from course.terminal import colour, say

PAGE = Path("docs") / "guarantees.md"
# Words that the name of a test can only write small.
WORDS = {"csrf": "CSRF", "orm": "ORM", "redis": "Redis"}
HEAD = """\
<!-- Made by `make guarantees` from the names and docstrings of the steps' tests. -->

# What each step guarantees

Each line is a test. A ✓ says that it runs, and passes, in that step. What one step guarantees the
later ones guarantee as well; where a later step gives something up (–), the page says why.
"""


@dataclass
class Row:
    """One test: its name, the first line of its docstring, and the labels of its steps."""

    name: str
    text: str = ""
    steps: set[str] = field(default_factory=set)


@dataclass
class Group:
    """One file of tests: its path in the step, its title, the step that brings it, its rows."""

    path: str
    step: Step
    title: str = ""
    rows: dict[str, Row] = field(default_factory=dict)


def first_line(docstring: str | None) -> str:
    """Return the first line of a docstring; empty where there is none."""
    return (docstring or "").partition("\n")[0].strip()


def test_files(tree: Tree) -> list[str]:
    """Return the paths of a step's files of tests."""
    return sorted(fnmatch.filter(tree.files, TEST_FILE))


def read_tests(source: bytes) -> tuple[str, dict[str, str]]:
    """Return the title of a file of tests, and what the docstring of each test says."""
    tree = ast.parse(source)
    texts = {name: first_line(ast.get_docstring(test)) for name, test in named_tests(tree).items()}
    return first_line(ast.get_docstring(tree)), texts


def collect(steps: list[Step], trees: list[Tree]) -> list[Group]:
    """Return the files of tests in the order in which the steps bring them.

    Where a later step words something differently, its wording counts.
    """
    groups: dict[str, Group] = {}
    for step, tree in zip(steps, trees, strict=True):
        for path in test_files(tree):
            group = groups.setdefault(path, Group(path, step))
            group.title, texts = read_tests(tree.text(path))
            for name, text in texts.items():
                row = group.rows.setdefault(name, Row(name))
                row.text = text
                row.steps.add(step.label)
    return list(groups.values())


def unsaid(trees: list[Tree]) -> Iterator[str]:
    """Yield a sentence for each file and test whose docstring does not say what it is for."""
    told = set()
    for tree in trees:
        for path in test_files(tree):
            title, texts = read_tests(tree.text(path))
            said = {path: title} | {f"{path}::{name}": text for name, text in texts.items()}
            for place, text in said.items():
                if place in told or text.endswith((".", "!", "?")):
                    continue
                told.add(place)
                if text:
                    yield f"{tree.label}/{place}: its docstring's first line is no whole sentence."
                else:
                    yield f"{tree.label}/{place} has no docstring that says what it is for."


def problems(entries: list[Entry], trees: list[Tree]) -> list[str]:
    """Return a sentence for each test that cannot be read, says nothing, or is lost."""
    found = [sentence for tree in trees for sentence in broken_tests(tree)]
    if found:
        return found
    for entry, (before, after) in zip(entries[1:], pairwise(trees), strict=True):
        found += lost_tests(entry, before, after)
        found += retired_problems(entry, before, after)
    return found + list(unsaid(trees))


def in_words(name: str) -> str:
    """Return the name of a test as the sentence that it is, without its full stop."""
    words = name.rpartition("::")[2].removeprefix("test_").split("_")
    text = " ".join(WORDS.get(word, word) for word in words)
    return text[:1].upper() + text[1:]


def in_cell(text: str) -> str:
    """Return a text that stays in its cell of a table: docstrings mark code as Sphinx does."""
    return re.sub(r"``(.+?)``", r"`\1`", text).replace("|", r"\|")


def reasons(group: Group, entries: list[Entry]) -> Iterator[str]:
    """Yield a line for each time that a step retires tests of this file, and why."""
    for number, entry in enumerate(entries, 1):
        for name, reason in entry.retires.items():
            path, _, test = name.partition("::")
            if path == group.path:
                what = f"“{in_words(test)}”" if test else "all of this"
                yield f"Step {number} gives up {what}: {reason.strip().removesuffix('.')}."


def table(group: Group, labels: list[str]) -> Iterator[str]:
    """Yield the lines of the table for one file of tests."""
    yield " | ".join(["| Guarantee", *map(str, range(1, len(labels) + 1))]) + " |"
    yield "|---" + "|:-:" * len(labels) + "|"
    for row in group.rows.values():
        first = min(map(labels.index, row.steps))
        marks = ["✓" if label in row.steps else "–" for label in labels[first:]]
        cells = [f"**{in_words(row.name)}.** {in_cell(row.text)}", *[" "] * first, *marks]
        yield f"| {' | '.join(cells)} |"


def page(entries: list[Entry], groups: list[Group]) -> str:
    """Return the page, as Markdown."""
    labels = [entry.label for entry in entries]
    lines = [HEAD]
    for number, entry in enumerate(entries, 1):
        lines += [f"## Since step {number}: {entry.concept}", ""]
        for group in groups:
            if group.step.label == entry.label:
                link = f"[{group.path}](../{entry.label}/{group.path})"
                lines += [f"### {group.title.removesuffix('.')}", "", link, ""]
                lines += [line for reason in reasons(group, entries) for line in (reason, "")]
                lines += [*table(group, labels), ""]
    return "\n".join(lines).rstrip() + "\n"


def guarantees(check: bool = False, root: Path = ROOT) -> int:
    """Write the page, or with `check` only tell whether it is up to date; return the exit code.

    It is 1 where the page is stale, a docstring is missing, or a test is gone without a reason.
    """
    entries, steps = load(root), all_steps(root)
    trees = [read_tree(step) for step in steps]
    found = problems(entries, trees)
    if found:
        for text in found:
            say(text)
        closing = f"{PAGE.as_posix()} cannot be made from the tests and {NAME}: see above."
        print(colour(closing, "red", sys.stderr), file=sys.stderr)
        return 1
    groups = collect(steps, trees)
    text, file = page(entries, groups), root / PAGE
    current = file.read_text("utf-8") if file.is_file() else ""
    count = sum(len(group.rows) for group in groups)
    if check and current != text:
        stale = f"{PAGE.as_posix()} is not what the tests say. Run: make guarantees"
        print(colour(stale, "red", sys.stderr), file=sys.stderr)
        return 1
    if current != text:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, "utf-8", newline="\n")
    state = "up to date" if current == text else "written"
    say(f"{PAGE.as_posix()}: {state}, {count} guarantees.")
    return 0
