"""A Python that is too old gets a sentence, not a traceback."""

import ast
import subprocess
import sys

import pytest

from course.checks.tools.conftest import clean, sentence
from course.core.steps import ROOT

FAKED = (
    "import runpy, sys; sys.version_info = (3, 9, 1, 'final', 0); "
    "runpy.run_module('course', run_name='__main__')"
)


def test_an_old_python_is_refused_in_one_sentence():
    """The sentence names the found version, the needed version, and a command to type."""
    command = [sys.executable, "-c", FAKED]
    line = sentence(subprocess.run(command, cwd=ROOT, env=clean(), capture_output=True, text=True))
    assert line.startswith("The course needs Python 3.11 or later and this is Python 3.9.1: ")
    assert line.endswith("make run STEP=1 PYTHON=python3.12")


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py"])
def test_the_guard_can_be_read_by_an_old_python(name):
    """The lines before the check are valid in Python 3.6, and plain ASCII for Python 2.7."""
    source = (ROOT / "course" / name).read_text("ascii")
    ast.parse(source, feature_version=(3, 6))
