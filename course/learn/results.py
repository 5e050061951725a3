"""Read the results of tests from JUnit files, and show them as one table."""

import ast
import textwrap
import xml.etree.ElementTree as ElementTree
from collections import Counter
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
class Job:
    """A command that writes JUnit files to its folder of results.

    When the job has ended, it has its seconds and its tests, and is one row of the table.
    """

    name: str
    command: list[str]
    cwd: Path
    results: Path
    log: Path
    seconds: float = 0.0
    tests: list[Test] = field(default_factory=list)

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


def write_junit(tests: list[Test], file: Path) -> None:
    """Write a JUnit file, and the folder in which it is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    suite = ElementTree.Element("testsuite")
    for test in tests:
        case = ElementTree.SubElement(suite, "testcase", name=test.id, time=f"{test.seconds:.3f}")
        if test.outcome != "passed":
            tag = "failure" if test.outcome == "failed" else "skipped"
            ElementTree.SubElement(case, tag, message=test.message)
    ElementTree.ElementTree(suite).write(file, encoding="utf-8", xml_declaration=True)


def wrap(text: str, indent: str, lines: int | None = None) -> list[str]:
    """Return `text`, indented, wrapped to the width of the table and cut to a number of lines."""
    wrapper = textwrap.TextWrapper(WIDTH, indent, indent, break_on_hyphens=False, max_lines=lines)
    return wrapper.wrap(text)


def details(jobs: list[Job]) -> list[str]:
    """Return the lines that give the reasons of skips, the failed tests, and the slowest tests."""
    tests = [(job.name, test) for job in jobs for test in job.tests]
    skips: dict[str, Counter[str]] = {}
    lines: dict[str, list[str]] = {"Skipped": [], "Failed": [], "Slowest tests": []}
    for name, test in tests:
        if test.outcome == "skipped":
            skips.setdefault(test.message, Counter())[name] += 1
        if test.outcome == "failed":
            message = wrap(test.message, "      ", MESSAGE_LINES)
            lines["Failed"] += [f"  {name}: {test.id}", *message]
    for reason, found in skips.items():
        lines["Skipped"] += wrap(f"{found.total()} in {', '.join(found)}: {reason}", "  ")
    for name, test in sorted(tests, key=lambda each: -each[1].seconds)[:SLOWEST]:
        line = f"{test.seconds:7.1f} s  {name}: {test.id}"
        lines["Slowest tests"].append(line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…")
    return [line for title in lines if lines[title] for line in ("", title, *lines[title])]


def row(title: str, *cells: object) -> str:
    """Return one line of the table."""
    return f"{title:<35}" + "".join(f"{cell:>10}" for cell in cells)


def report(jobs: list[Job], seconds: float) -> str:
    """Return the table, the details and the closing line."""
    lines = [colour(row("part", *OUTCOMES, "seconds"), "bold")]
    for job in jobs:
        text = row(job.name, *map(job.count, OUTCOMES), f"{job.seconds:.1f}")
        lines.append(colour(text, "red") if job.count("failed") else text)
    passed, failed, skipped = (sum(job.count(each) for job in jobs) for each in OUTCOMES)
    lines += ["-" * 75, row("all", passed, failed, skipped, f"{seconds:.1f}"), *details(jobs)]
    closing = f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")
    return "\n".join([*lines, "", colour(closing, "red" if failed else "green")])
