"""`make guarantees`: write `docs/guarantees.md` from the names and docstrings of the steps' tests.

The name of a test is the guarantee in a few words; the first line of its docstring adds the rest.
"""

import ast
import fnmatch
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from course.core.manifest import (
    NAME,
    TEST_FILE,
    Entry,
    Midpoint,
    chain,
    load,
    named_tests,
    problems_of_tests,
)
from course.core.steps import ROOT, all_steps
from course.core.terminal import colour, say

PAGE = Path("docs") / "guarantees.md"
# A test's name is in lower case, so these words need their capitals back.
WORDS = {"csrf": "CSRF", "orm": "ORM", "redis": "Redis"}
HEAD = """\
<!-- Made by `make guarantees` from the names and docstrings of the steps' tests. -->

# What each step guarantees

Each line is a test. A ✓ says that the test runs and passes in that step. Later steps keep the
guarantees of earlier steps. If a later step gives up a guarantee (–), the page gives the reason.
"""


@dataclass
class Row:
    """One test: its name, the first line of its docstring, and the labels of its steps."""

    name: str
    text: str = ""
    steps: set[str] = field(default_factory=set)


@dataclass
class Group:
    """One file of tests: its path, the first mid-point that has the file, its title, its rows."""

    path: str
    since: Midpoint
    title: str = ""
    rows: dict[str, Row] = field(default_factory=dict)


def first_line(docstring: str | None) -> str:
    """Return the first line of a docstring, or "" if there is none."""
    return (docstring or "").partition("\n")[0].strip()


def test_files(tree: Midpoint) -> list[str]:
    """Return the paths of the files of tests, sorted."""
    return sorted(fnmatch.filter(tree.files, TEST_FILE))


def read_tests(source: bytes) -> tuple[str, dict[str, str]]:
    """Return the title of a file of tests, and the first line of each test's docstring."""
    tree = ast.parse(source)
    texts = {name: first_line(ast.get_docstring(test)) for name, test in named_tests(tree).items()}
    return first_line(ast.get_docstring(tree)), texts


def collect(chains: list[list[Midpoint]]) -> list[Group]:
    """Return the files of tests in the order of the parts that add them.

    If the wording differs between steps, use the wording of the latest step. A file that only a
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
    """Yield a message for each file and test without a docstring, or without a full sentence."""
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
                    yield f"{label}/{place}: the first line of its docstring is no full sentence."
                else:
                    yield f"{label}/{place} has no docstring."


def in_words(name: str) -> str:
    """Return the name of a test as a sentence without its full stop."""
    words = name.rpartition("::")[2].removeprefix("test_").split("_")
    text = " ".join(WORDS.get(word, word) for word in words)
    return text[:1].upper() + text[1:]


def in_cell(text: str) -> str:
    """Return a text for a cell of a Markdown table; docstrings mark code with two backticks."""
    return re.sub(r"``(.+?)``", r"`\1`", text).replace("|", r"\|")


def reasons(group: Group, entries: list[Entry]) -> Iterator[str]:
    """Yield a line with the reason for each retirement of tests in this file."""
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
    """Return the heading for the guarantees that begin with a step, or with one of its parts."""
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
    """Write the page; with `check`, only compare the page with the tests. Return the exit code.

    The exit code is 1 if the page is stale, a docstring is missing, or a test is gone without a
    reason.
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
        stale = f"{PAGE.as_posix()} is out of date. Run: make guarantees"
        print(colour(stale, "red", sys.stderr), file=sys.stderr)
        return 1
    if current != text:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, "utf-8", newline="\n")
    state = "up to date" if current == text else "written"
    say(f"{PAGE.as_posix()}: {state}, {count} guarantees.")
    return 0
