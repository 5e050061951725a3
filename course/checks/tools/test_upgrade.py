"""`make upgrade` raises versions, and `DJANGO=` tries another Django in a copy."""

import sys
from pathlib import Path

import pytest

from course.checks.tools.conftest import add_step
from course.core import environment
from course.core.environment import LOCK
from course.core.steps import ROOT
from course.core.terminal import UserError
from course.maintain.upgrade import (
    differences,
    locked_versions,
    opened,
    raised,
    requirement_files,
    upgrade,
    with_ranges,
)

# In place of uv: write down what is asked, and answer with the versions in answer.txt, if any.
UV = f"""#!{sys.executable}
import pathlib, sys
here = pathlib.Path(__file__).parent
output, wanted, *options = sys.argv[sys.argv.index("--output-file") + 1:]
(here / "asked.txt").write_text(pathlib.Path(wanted).read_text() + " ".join(options))
pathlib.Path(output).write_text((here / "answer.txt").read_text())
"""
NEWEST = "channels==5.1.0\ndjango==5.2.9\nuvicorn==0.31.2\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course whose uv is UV and answers NEWEST."""
    add_step(tmp_path, "course", {"requirements.txt": "channels~=4.3  # why\n"})
    add_step(tmp_path, "step01_echo", {"requirements.txt": "uvicorn~=0.30\nDjango~=5.2.0\n"})
    interim = {"requirements.txt": "channels[x]>=4,<5 ; os\n"}
    add_step(tmp_path, "course/interim/step02_x/part01", interim)
    (tmp_path / LOCK).write_text("channels==4.3.1\ndjango==5.2.1\nuvicorn==0.30.1\n")
    uv = environment.venv_program(tmp_path, "uv")
    uv.parent.mkdir()
    uv.write_text(UV)
    uv.chmod(0o755)
    (uv.parent / "answer.txt").write_text(NEWEST)
    monkeypatch.setattr(environment, "ensure", lambda *_: uv.parent / "python")
    return tmp_path


def ranges(root: Path) -> str:
    """Return the text of all requirements files."""
    return "".join(file.read_text() for file in requirement_files(root))


def asked(root: Path) -> list[str]:
    """Return the requirements that uv was asked for, and its options."""
    file = environment.venv_program(root, "uv").with_name("asked.txt")
    return [line for line in file.read_text().splitlines() if line]


@pytest.mark.parametrize(
    ("wanted", "wide", "newest", "becomes"),
    [
        ("~=4.3", ">=4.3", "5.1.2", "~=5.1"),
        ("~=4.3", ">=4.3", "4.9", "~=4.3"),
        ("~=40.1", ">=40.1", "2027", "~=2027.0"),
        ("~=5.2.0", "~=5.2.0", "6.0", "~=5.2.0"),
        (">=4.2.2,<6", ">=4.2.2", "4.9", ">=4.2.2,<6"),
        (">=4.2.2,<5", ">=4.2.2", "6.0.1", ">=4.2.2,<7"),
        ("", "", "3.0", ""),
    ],
)
def test_how_far_a_range_is_raised(wanted: str, wide: str, newest: str, becomes: str) -> None:
    """A range that excludes the newest release moves; a series and a lower bound stay."""
    assert (opened(wanted), raised(wanted, newest)) == (wide, becomes)


@pytest.mark.parametrize("file", requirement_files(ROOT), ids=lambda file: file.parent.name)
def test_every_requirement_is_in_the_lock_file(file: Path) -> None:
    """Each package in a requirements file has a locked version."""
    named: list[str] = []
    with_ranges(file.read_text("utf-8"), lambda name, old: named.append(name) or old)
    assert named
    assert set(named) <= locked_versions(ROOT).keys()


def test_a_new_major_version_stands_out() -> None:
    """Only packages that differ get a line, and a new major version is marked."""
    before = {"a": "1.9", "b": "1", "c": "1", "e": "9.9"}
    after = {"a": "1.10", "b": "1", "d": "3", "e": "10.0"}
    assert [line.split(maxsplit=4) for line in differences(before, after)] == [
        ["a", "1.9", "→", "1.10"],
        ["c", "1", "→", "none"],
        ["d", "none", "→", "3"],
        ["e", "9.9", "→", "10.0", "NEW MAJOR VERSION"],
    ]


def test_all_is_raised_and_the_tests_are_left_to_the_person(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ranges move, also in interim files, if they must; extras, markers and comments stay."""
    assert upgrade(root=root) == 0
    *wide, options = asked(root)
    assert wide == ["channels[x]>=4 ; os", "channels>=4.3  # why", "uvicorn>=0.30", "Django~=5.2.0"]
    assert "--upgrade" in options.split()
    assert ranges(root) == (
        "channels[x]>=4,<6 ; os\nchannels~=5.1  # why\nuvicorn~=0.30\nDjango~=5.2.0\n"
    )
    assert (root / LOCK).read_text() == NEWEST
    assert capsys.readouterr().out.endswith("and run: make docs test-all\n")


def test_one_package_is_raised_alone(root: Path) -> None:
    """With ONLY, the other ranges stay closed, and uv may raise this package only."""
    assert upgrade("Uvicorn", root) == 0
    *wide, options = asked(root)
    assert " ".join(wide) == (
        "channels[x]>=4,<5 ; os channels~=4.3  # why uvicorn>=0.30 Django~=5.2.0"
    )
    assert options.split()[-2:] == ["--upgrade-package", "Uvicorn"]


def test_all_is_raised_or_nothing(root: Path) -> None:
    """If uv fails, for instance without a network, no file changes; nor for a wrong package."""
    before = ranges(root), (root / LOCK).read_text()
    with pytest.raises(UserError, match=r"requirements\.lock has no package redys"):
        upgrade("redys", root)
    environment.venv_program(root, "uv").with_name("answer.txt").unlink()
    with pytest.raises(UserError, match="No file has changed"):
        upgrade(root=root)
    assert (ranges(root), (root / LOCK).read_text()) == before
