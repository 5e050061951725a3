"""JUnit files are read, and shown as one table."""

from dataclasses import replace
from pathlib import Path

import pytest

from course.learn.results import Job, Test, read_junit, report, write_junit

JUNIT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest">
<testcase classname="tests.test_echo" file="tests/test_echo.py" name="test_answer[日本語]"
  time="0.5"/>
<testcase classname="tests.test_echo.TestEcho" file="tests/test_echo.py" name="test_in_a_class"
  time="0.1">
  <failure message="AssertionError: assert 1 == 2&#10;  +1">traceback</failure></testcase>
<testcase classname="tests.test_echo" file="tests/test_echo.py" name="test_setup" time="0.2">
  <error message="failed on setup">traceback</error></testcase>
<testcase classname="tests.test_echo" file="tests/test_echo.py" name="test_real" time="0">
  <skipped type="pytest.skip" message="needs Redis">here</skipped></testcase>
<testcase classname="" file="tests/test_broken.py" name="tests.test_broken" time="0">
  <error message="collection failure">import x
E   ImportError: no x</error></testcase>
<testcase classname="tests.test_echo" file="tests/test_echo.py" name="test_twice" time="0.1"/>
<testcase classname="tests.test_echo" file="tests/test_echo.py" name="test_twice" time="0.1">
  <error message="failed on teardown"/></testcase>
</testsuite></testsuites>
"""


@pytest.fixture
def tests(tmp_path):
    """The tests of the file above."""
    (tmp_path / "pytest.xml").write_text(JUNIT, "utf-8")
    return read_junit(tmp_path / "pytest.xml")


def test_each_outcome_is_read(tests):
    """Failures, errors in setup and teardown, and skips have their messages."""
    assert [(test.id, test.outcome) for test in tests] == [
        ("tests/test_echo.py::test_answer[日本語]", "passed"),
        ("tests/test_echo.py::TestEcho::test_in_a_class", "failed"),
        ("tests/test_echo.py::test_setup", "failed"),
        ("tests/test_echo.py::test_real", "skipped"),
        ("tests/test_broken.py", "failed"),
        ("tests/test_echo.py::test_twice", "failed"),
    ]
    assert tests[1].message.startswith("AssertionError: assert 1 == 2")
    assert tests[3].message == "needs Redis"
    assert tests[4].message == "collection failure: ImportError: no x"


@pytest.mark.parametrize("reason", ["'no Valkey (here)'", '"it\'s not here"'])
def test_a_file_that_is_skipped_says_why(tmp_path, reason):
    """The result gives the reason, which pytest hides behind `collection skipped`."""
    file = tmp_path / "pytest.xml"
    where = reason[0] + "Skipped: " + reason[1:]
    file.write_text(
        '<testsuite><testcase file="tests/test_redis.py" name="tests.test_redis">'
        f"<skipped message=\"collection skipped\">('/a/b.py', 16, {where})</skipped>"
        "</testcase></testsuite>"
    )
    (test,) = read_junit(file)
    assert (test.id, test.outcome) == ("tests/test_redis.py", "skipped")
    assert test.message == reason[1:-1]


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_what_is_written_can_be_read(tmp_path, outcome):
    """`standalone` writes its proof in the same format."""
    test = Test("runs on its own", outcome, 1.5, 'ended with "3" & no <page>')
    write_junit([test], tmp_path / "proof.xml")
    assert read_junit(tmp_path / "proof.xml") == [test]


def ended(name, tests, seconds=1.0):
    """Return a job that has ended with these tests."""
    return Job(name, [], Path(), Path(), Path(), seconds=seconds, tests=tests)


def test_the_report_names_everything_and_fits_a_terminal(tests):
    """The report has rows, skips, failures, the slowest tests, and one closing line."""
    wordy = replace(tests[1], message="because " * 100)
    endless = Test("tests/test_echo.py::test_" + "very_" * 20 + "long", "passed", 0.4)
    shown = report([ended("step01_echo", tests, 12.34), ended("course", [wordy, endless])], 13.0)
    lines = shown.splitlines()
    assert lines[0].split() == ["part", "passed", "failed", "skipped", "seconds"]
    assert lines[1].split() == ["step01_echo", "1", "4", "1", "12.3"]
    assert lines[4].split() == ["all", "2", "5", "1", "13.0"]
    assert lines[-1] == "2 passed, 5 failed, 1 skipped"
    assert all(len(line) <= 80 for line in lines)
    assert sum(line.startswith("      because ") for line in lines) == 4
    skipped, failed, slow = (lines.index(t) for t in ("Skipped", "Failed", "Slowest tests"))
    assert skipped < failed < slow
    assert lines[skipped + 1] == "  1 in step01_echo: needs Redis"
    assert "  step01_echo: tests/test_echo.py::TestEcho::test_in_a_class" in lines[failed:slow]
    assert lines[slow + 1].split() == ["0.5", "s", "step01_echo:", tests[0].id]


def test_only_the_ten_slowest_are_named_and_a_reason_for_many_skips_is_one_line():
    """A machine without a browser skips hundreds of tests for one reason."""
    many = [Test(f"test_{n}", "passed", n) for n in range(30)]
    lines = report([ended("course", many)], 1.0).splitlines()
    assert lines[-1] == "30 passed, 0 failed"
    assert not {"Skipped", "Failed"}.intersection(lines)
    slow = [line.split() for line in lines if " s  course: test_" in line]
    assert slow == [[f"{n}.0", "s", "course:", f"test_{n}"] for n in range(29, 19, -1)]
    pages = [Test(f"test_pages.py::test_{n}", "skipped", 0.0, "no Chromium") for n in range(100)]
    other = Test("test_redis.py", "skipped", 0.0, "needs Redis")
    shown = report([ended("browser", [*pages, other]), ended("stack", pages[:1])], 2.0)
    assert "Skipped\n  101 in browser, stack: no Chromium\n  1 in browser: needs Redis\n" in shown
