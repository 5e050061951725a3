"""The READMEs are correct: links, commands, names of tests, and parts."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from course.checks.tools.conftest import run_make
from course.cli import build_parser, overview
from course.core import manifest
from course.core.parts import find_midpoint
from course.core.steps import ROOT, all_steps, find_step

READMES = [ROOT / "README.md", *(step.folder / "README.md" for step in all_steps())]
PAGES = [*READMES, *sorted((ROOT / "docs").rglob("*.md"))]
MAKE = r"(?:\$ |`)(?:[A-Z]\w+=\S+ )*(make [a-z-]+(?: [A-Z_]+=[^\s`]+)+)"
SECTIONS = ["Run it", "What is new", "Files to read, in this order", "Check yourself", "Next"]
FOUR_COMMANDS = """\
$ python -m venv .venv
$ .venv/bin/pip install -r requirements.txt
$ .venv/bin/python manage.py migrate
$ .venv/bin/python manage.py runserver
"""


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_it_names_exists(readme: Path) -> None:
    """The repository has each linked file, and the step has each named test.

    The README has the four commands after which a copy of a step runs.
    """
    text = readme.read_text("utf-8")
    targets = re.findall(r"\]\(([^)#]+)\)", text)
    local = [target for target in targets if not target.startswith("http")]
    assert local
    assert [target for target in local if not (readme.parent / target).exists()] == []
    tests = "".join(file.read_text("utf-8") for file in readme.parent.glob("tests/test_*.py"))
    named = re.findall(r"`(test_\w+)`", text)
    assert [name for name in named if f"def {name}(" not in tests] == []
    assert FOUR_COMMANDS in text


@pytest.mark.parametrize("step", all_steps(), ids=lambda step: step.label)
def test_each_step_has_the_same_shape(step) -> None:
    """Each README has the same sections in the same order."""
    text = (step.folder / "README.md").read_text("utf-8")
    assert text.startswith(f"# Step {step.number}: ")
    assert "\n**Goal:** " in text
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert f"$ make run STEP={step.number}\n" in text


def test_each_step_leads_to_the_next() -> None:
    """The course's README lists each step and their number; each step links the next one."""
    steps, text = all_steps(), (ROOT / "README.md").read_text("utf-8")
    assert re.findall(r"^\| \[(\d+): \w+\]\((\w+)/README.md\)", text, re.MULTILINE) == [
        (str(step.number), step.label) for step in steps
    ]
    number = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight"][len(steps)]
    assert text.startswith(f"# Django Channels in {number} steps\n")
    assert f"in {number} steps" in overview()
    for step, later in pairwise(steps):
        last = (step.folder / "README.md").read_text("utf-8").partition("\n## Next\n")[2]
        assert f"[Step {later.number}](../{later.label}/README.md)" in last


def test_parts_are_those_that_make_diff_shows() -> None:
    """The parts have the manifest's names, and link their files in the manifest's order."""
    for entry in manifest.load():
        if len(entry.parts) < 2:
            continue
        text = (ROOT / entry.label / "README.md").read_text("utf-8")
        news = text.partition("\n## What is new\n")[2].partition("\n## ")[0]
        start, *sections = re.split(r"^### ", news, flags=re.MULTILINE)
        assert re.search(r"`make diff FROM=\d+ TO=\d+ PART=1`", start)
        titles = [section.partition("\n")[0].lower() for section in sections]
        assert titles == [f"{n}. {part.name.lower()}" for n, part in enumerate(entry.parts, 1)]
        for section, part in zip(sections, entry.parts, strict=True):
            linked = re.findall(r"\]\(((?!http)[^)#]+)\)", section)
            named = [target for target in linked if not target.endswith("/")]
            assert linked
            assert named == [path for path in part.files if path in named]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_each_command_of_make_can_be_typed(page: Path) -> None:
    """`make` and the course know each command, its names, and its part, if the page has one."""
    for typed in re.findall(MAKE, page.read_text("utf-8")):
        made = run_make(*shlex.split(typed)[1:], "-n", python="python")
        assert made.returncode == 0, f"{typed}: {made.stderr}"
        words = shlex.split(made.stdout.replace("\\\n", ""))
        options = build_parser().parse_args(words[words.index("course") + 1 :])
        if part := getattr(options, "part", ""):
            step = getattr(options, "second", getattr(options, "step", "5"))  # stack: step 5
            assert find_midpoint(find_step(step), part)
