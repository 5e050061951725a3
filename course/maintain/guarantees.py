"""`make guarantees`: write `docs/guarantees.md` from the names and docstrings of the steps' tests.

The name of a test is the guarantee in a few words; the first line of its docstring adds the rest.
"""

import ast
import fnmatch
import re
from collections.abc import Iterator
from pathlib import Path

from course.core.manifest import TEST_FILE, Entry, Midpoint, chain, load
from course.core.steps import ROOT, all_steps
from course.core.terminal import say

PAGE = Path("docs") / "guarantees.md"
# A test's name is in lower case, so these words need their capitals back.
WORDS = {"csrf": "CSRF", "orm": "ORM", "redis": "Redis"}
HEAD = """\
<!-- Made by `make guarantees` from the names and docstrings of the steps' tests. -->

# The guarantees of each step

Each line is a test. A ✓ says that the test runs and passes in that step. Later steps keep the
guarantees of earlier steps. If a later step gives up a guarantee (–), the page gives the reason.
"""
# The first line of each docstring in a file of tests, by the name of the test; "" names the file.
Docstrings = dict[str, str]


def docstrings(step: Midpoint, path: str) -> Docstrings:
    """Return the docstrings of a file of tests; none if the step has no such file."""
    texts = {name: ast.get_docstring(node) or "" for name, node in step.nodes(path).items()}
    return {name: text.partition("\n")[0].strip() for name, text in texts.items()}


def in_words(name: str) -> str:
    """Return the name of a test as a sentence without its full stop."""
    words = name.rpartition("::")[2].removeprefix("test_").split("_")
    text = " ".join(WORDS.get(word, word) for word in words)
    return text[:1].upper() + text[1:]


def heading(since: Midpoint, entry: Entry) -> str:
    """Return the heading for the guarantees that begin with a step, or with one of its parts."""
    if len(entry.parts) < 2:
        return f"## Since step {since.step.number}: {entry.concept}"
    return f"## Since step {since.step.number}, part {since.number}: {since.name}"


def reasons(path: str, entries: list[Entry]) -> Iterator[str]:
    """Yield a line with the reason for each retirement of tests in the file `path`."""
    for number, entry in enumerate(entries, 1):
        for name, reason in entry.retires.items():
            file, _, test = name.partition("::")
            if file == path:
                what = f"“{in_words(test)}”" if test else "all of this"
                yield f"Step {number} gives up {what}: {reason.strip().removesuffix('.')}."


def table(latest: Docstrings, steps: list[Docstrings]) -> Iterator[str]:
    """Yield the lines of the table for a file of tests.

    `latest` has the tests with their latest wording, `steps` has the tests of each step.
    """
    yield " | ".join(["| Guarantee", *map(str, range(1, len(steps) + 1))]) + " |"
    yield "|---" + "|:-:" * len(steps) + "|"
    for name, text in latest.items():
        marks = ["✓" if name in texts else "–" for texts in steps]
        first = marks.index("✓")
        # Docstrings mark code with two backticks.
        cell = re.sub(r"``(.+?)``", r"`\1`", text).replace("|", r"\|")
        cells = [f"**{in_words(name)}.** {cell}", *[" "] * first, *marks[first:]]
        yield f"| {' | '.join(cells)} |"


def page(entries: list[Entry], chains: list[list[Midpoint]]) -> str:
    """Return the page, as Markdown: the files of tests in the order of the parts that add them.

    A file that only a mid-point has is left out.
    """
    since: dict[str, tuple[Midpoint, Entry]] = {}
    for entry, points in zip(entries, chains, strict=True):
        for point in points:
            for path in sorted(fnmatch.filter(point.files, TEST_FILE)):
                since.setdefault(path, (point, entry))
    steps = [points[-1] for points in chains]
    lines = [HEAD]
    for path, (point, entry) in since.items():
        versions = [docstrings(step, path) for step in steps]
        latest = {name: text for texts in versions for name, text in texts.items()}
        about = latest.pop("", "").removesuffix(".")
        if not latest:
            continue
        title = heading(point, entry)
        lines += [] if title in lines else [title, ""]
        lines += [f"### {about}", "", f"[{path}](../{entry.label}/{path})", ""]
        lines += [line for reason in reasons(path, entries) for line in (reason, "")]
        lines += [*table(latest, versions), ""]
    return "\n".join(lines).rstrip() + "\n"


def guarantees(root: Path = ROOT) -> int:
    """Write the page; return 0."""
    text = page(load(root), [chain(step, root) for step in all_steps(root)])
    (root / PAGE).parent.mkdir(exist_ok=True)
    (root / PAGE).write_text(text, "utf-8", newline="\n")
    count = text.count("\n| **")
    say(f"{PAGE.as_posix()}: {count} guarantees.")
    return 0
