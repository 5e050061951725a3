"""What each step guarantees: `docs/guarantees.md`, written from the steps' tests.

A test's name is the guarantee in a few words, the first line of its docstring says the rest.
"""

import ast
import fnmatch
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from course.manifest import (
    NAME,
    TEST_FILE,
    Entry,
    Midpoint,
    chain,
    load,
    named_tests,
    problems_of_tests,
)
from course.steps import ROOT, all_steps
from course.terminal import colour, say

PAGE = Path("docs") / "guarantees.md"
# Words that the name of a test can only write small.
WORDS = {"csrf": "CSRF", "orm": "ORM", "redis": "Redis"}
HEAD = """\
<!-- Made by `make guarantees` from the names and docstrings of the steps' tests. -->

# What each step guarantees

Each line is a test. A ✓ says that it runs, and passes, in that step. Later steps keep the
guarantees of earlier ones. Where a later step gives one up (–), the page says why.
"""


@dataclass
class Row:
    """One test: its name, the first line of its docstring, and the labels of its steps."""

    name: str
    text: str = ""
    steps: set[str] = field(default_factory=set)


@dataclass
class Group:
    """One file of tests: its path, the mid-point that brings it, its title, its rows."""

    path: str
    since: Midpoint
    title: str = ""
    rows: dict[str, Row] = field(default_factory=dict)


def first_line(docstring: str | None) -> str:
    """Return the first line of a docstring; empty where there is none."""
    return (docstring or "").partition("\n")[0].strip()


def test_files(tree: Midpoint) -> list[str]:
    """Return the paths of a step's files of tests."""
    return sorted(fnmatch.filter(tree.files, TEST_FILE))


def read_tests(source: bytes) -> tuple[str, dict[str, str]]:
    """Return the title of a file of tests, and what the docstring of each test says."""
    tree = ast.parse(source)
    texts = {name: first_line(ast.get_docstring(test)) for name, test in named_tests(tree).items()}
    return first_line(ast.get_docstring(tree)), texts


def collect(chains: list[list[Midpoint]]) -> list[Group]:
    """Return the files of tests in the order in which the steps, part by part, bring them.

    Where a later step words something differently, its wording counts. A file that only a
    mid-point has is left out.
    """
    groups: dict[str, Group] = {}
    for points in chains:
        for point in points:
            for path in test_files(point):
                groups.setdefault(path, Group(path, point))
        last = points[-1]
        for path in test_files(last):
            group = groups[path]
            group.title, texts = read_tests(last.text(path))
            for name, text in texts.items():
                row = group.rows.setdefault(name, Row(name))
                row.text = text
                row.steps.add(last.step.label)
    return [group for group in groups.values() if group.rows]


def unsaid(trees: list[Midpoint]) -> Iterator[str]:
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
                label = tree.step.label
                if text:
                    yield f"{label}/{place}: its docstring's first line is no whole sentence."
                else:
                    yield f"{label}/{place} has no docstring that says what it is for."


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


def heading(since: Midpoint, entry: Entry) -> str:
    """Return the heading for what a step guarantees from its start, or from one of its parts on."""
    if len(entry.parts) < 2:
        return f"## Since step {since.step.number}: {entry.concept}"
    return f"## Since step {since.step.number}, part {since.number}: {since.name}"


def page(entries: list[Entry], groups: list[Group]) -> str:
    """Return the page, as Markdown."""
    by_label = {entry.label: entry for entry in entries}
    lines = [HEAD]
    for group in groups:
        label = group.since.step.label
        title = heading(group.since, by_label[label])
        if title not in lines:
            lines += [title, ""]
        link = f"[{group.path}](../{label}/{group.path})"
        lines += [f"### {group.title.removesuffix('.')}", "", link, ""]
        lines += [line for reason in reasons(group, entries) for line in (reason, "")]
        lines += [*table(group, list(by_label)), ""]
    return "\n".join(lines).rstrip() + "\n"


def guarantees(check: bool = False, root: Path = ROOT) -> int:
    """Write the page, or with `check` only tell whether it is up to date; return the exit code.

    It is 1 where the page is stale, a docstring is missing, or a test is gone without a reason.
    """
    entries = load(root)
    chains = [chain(step, root) for step in all_steps(root)]
    found = problems_of_tests(entries, chains)
    if found := found or list(unsaid([points[-1] for points in chains])):
        for text in found:
            say(text)
        closing = f"{PAGE.as_posix()} cannot be made from the tests and {NAME}: see above."
        print(colour(closing, "red", sys.stderr), file=sys.stderr)
        return 1
    groups = collect(chains)
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
