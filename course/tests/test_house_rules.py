"""What no step may hold."""

import re

import pytest

from course.steps import all_steps, step_files

STEPS = pytest.mark.parametrize("step", all_steps(), ids=lambda step: step.label)


def source_lines(step):
    """Yield the place and the text of each line of a step's own Python, its tests aside."""
    for file in step_files(step.folder):
        if file.suffix == ".py" and file.name != "client.py" and file.parts[0] != "tests":
            for number, line in enumerate((step.folder / file).read_text("utf-8").splitlines(), 1):
                yield f"{file}:{number}", line


@STEPS
def test_nothing_is_printed(step):
    """A step logs; `print` is for `client.py`, which is a program for the terminal."""
    assert [place for place, line in source_lines(step) if re.search(r"\bprint\(", line)] == []


@STEPS
def test_each_exemption_from_csrf_has_its_reason(step):
    """`csrf_exempt` stands with a comment on its line or the line above."""
    before, bare = "", []
    for place, line in source_lines(step):
        used = "csrf_exempt" in line and "import" not in line
        if used and "#" not in line and not before.strip().startswith("#"):
            bare.append(place)
        before = line
    assert bare == []


@STEPS
def test_no_step_imports_the_course(step):
    """A step is copied out of the repository and still runs."""
    pattern = re.compile(r"\s*(from|import) course\b")
    assert [place for place, line in source_lines(step) if pattern.match(line)] == []
