"""Read the results of tests from JUnit files, and show them as one table."""

import ast
import textwrap
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from course.core.terminal import colour

# This JUnit family names the file of each test, so `test_id` can return ids that pytest accepts.
# A step's pytest.ini stops after ten failures; here each test has a result.
PYTEST_OPTIONS = ("-q", "--maxfail=0", "-o", "junit_family=xunit1")
# Without Hypothesis, each start of pytest takes half a second less.
NO_HYPOTHESIS = ("-p", "no:hypothesispytest")
WIDTH = 80
SLOWEST = 10
OUTCOMES = ("passed", "failed", "skipped")
MESSAGE_LINES = 4


@dataclass(frozen=True)
class Test:
    """One test: its id, `passed`, `failed` or `skipped`, its seconds, and why."""

    __test__ = False  # not a class of tests for pytest

    id: str
    outcome: str
    seconds: float
    message: str = ""


@dataclass
class Part:
    """One row of the table: a job, its seconds, its tests, and its seconds of processor time."""

    name: str
    seconds: float
    tests: list[Test] = field(default_factory=list)
    work: float = 0.0

    def count(self, outcome: str) -> int:
        """Return the number of tests with this outcome."""
        return sum(test.outcome == outcome for test in self.tests)


def test_id(case: ElementTree.Element) -> str:
    """Return the id of a test case that pytest accepts: `tests/test_echo.py::test_answer`."""
    name, file, where = case.get("name", ""), case.get("file"), case.get("classname", "")
    if not file:
        return f"{where}::{name}" if where else name
    module = file.removesuffix(".py").replace("/", ".").replace("\\", ".")
    if name == module:
        return file
    classes = where.removeprefix(module).strip(".").split(".")
    return "::".join([file, *filter(None, classes), name])


def message_of(element: ElementTree.Element) -> str:
    """Return why a test failed or was skipped.

    If a whole file could not be imported, or is skipped, pytest's message gives no reason. The
    element's text has it: in its last line, or in a tuple of path, line number and reason.
    """
    message, text = element.get("message", "").strip(), (element.text or "").strip()
    if message == "collection skipped":
        message = str(ast.literal_eval(text)[2])
    elif message == "collection failure" and text:
        message += f": {text.splitlines()[-1].removeprefix('E').strip()}"
    return message.removeprefix("Skipped: ")


def read_case(case: ElementTree.Element) -> Test:
    """Return one `testcase` element as a Test."""
    seconds = float(case.get("time", "0"))
    for tag, outcome in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        found = case.find(tag)
        if found is not None:
            return Test(test_id(case), outcome, seconds, message_of(found))
    return Test(test_id(case), "passed", seconds)


def read_junit(file: Path) -> list[Test]:
    """Return the tests in a JUnit file; raise OSError or ParseError for any other file.

    Pytest writes a test twice if the test and its teardown fail; the test counts once.
    """
    tests: dict[str, Test] = {}
    for case in ElementTree.parse(file).iter("testcase"):
        test = read_case(case)
        if test.id not in tests or tests[test.id].outcome == "passed":
            tests[test.id] = test
    return list(tests.values())


def write_junit(test: Test, file: Path) -> None:
    """Write a JUnit file that holds one test."""
    suite = ElementTree.Element("testsuite")
    case = ElementTree.SubElement(suite, "testcase", name=test.id, time=f"{test.seconds:.3f}")
    if test.outcome == "failed":
        ElementTree.SubElement(case, "failure", message=test.message)
    if test.outcome == "skipped":
        ElementTree.SubElement(case, "skipped", message=test.message)
    ElementTree.ElementTree(suite).write(file, encoding="utf-8", xml_declaration=True)


def wrap(text: str, indent: str, lines: int | None = None) -> list[str]:
    """Return `text`, indented, wrapped to the width of the table and cut to a number of lines."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        max_lines=lines,
        placeholder=" …",
    )


def failures(parts: Iterable[Part]) -> list[str]:
    """Return the lines that name each failed test, and its message."""
    lines = []
    for part in parts:
        for test in part.tests:
            if test.outcome == "failed":
                lines.append(f"  {part.name}: {test.id}")
                lines += wrap(test.message, "      ", MESSAGE_LINES)
    return ["", "Failed", *lines] if lines else []


def skips(parts: Iterable[Part]) -> list[str]:
    """Return the reasons for skips, with the number of tests and their parts for each."""
    found: dict[str, Counter[str]] = {}
    for part in parts:
        for test in part.tests:
            if test.outcome == "skipped":
                found.setdefault(test.message, Counter())[part.name] += 1
    lines = []
    for reason, tests in found.items():
        lines += wrap(f"{tests.total()} in {', '.join(tests)}: {reason}", "  ")
    return ["", "Skipped", *lines] if lines else []


def slowest(parts: Iterable[Part]) -> list[str]:
    """Return the lines that name the slowest tests of this run."""
    timed = [(test.seconds, part.name, test.id) for part in parts for test in part.tests]
    lines = [f"{seconds:7.1f} s  {part}: {name}" for seconds, part, name in sorted(timed)[::-1]]
    cut = [line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…" for line in lines[:SLOWEST]]
    return ["", "Slowest tests", *cut] if cut else []


def row(name: str, *cells: object) -> str:
    """Return one line of the table."""
    return f"{name:<25}" + "".join(f"{cell:>10}" for cell in cells)


def report(parts: list[Part], seconds: float) -> str:
    """Return the table, the skips, the failures, the slowest tests and the closing line."""
    lines = [colour(row("part", *OUTCOMES, "seconds", "work"), "bold")]
    for part in parts:
        counts = [part.count(outcome) for outcome in OUTCOMES]
        text = row(part.name, *counts, f"{part.seconds:.1f}", f"{part.work:.1f}")
        lines.append(colour(text, "red") if part.count("failed") else text)
    passed, failed, skipped = (sum(part.count(each) for part in parts) for each in OUTCOMES)
    work = sum(part.work for part in parts)
    lines.append("-" * len(row("", *[""] * 5)))
    lines.append(row("all", passed, failed, skipped, f"{seconds:.1f}", f"{work:.1f}"))
    lines += [*skips(parts), *failures(parts), *slowest(parts)]
    closing = f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")
    return "\n".join([*lines, "", colour(closing, "red" if failed else "green")])
