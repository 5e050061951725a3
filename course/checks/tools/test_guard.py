"""A Python that is too old gets a sentence, not a traceback."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from course.checks.tools.conftest import clean, sentence
from course.core.steps import ROOT

FAKED = (
    "import runpy, sys; sys.version_info = (3, 9, 1, 'final', 0); "
    "runpy.run_module('course', run_name='__main__')"
)


def old_pythons() -> list:
    """Return a command for this Python with a false version, and one for each old Python here."""
    found = [pytest.param([sys.executable, "-c", FAKED], id="faked")]
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in ("2.7", "3.6", "3.7", "3.8", "3.9", "3.10"):
        places = [*versions.glob(f"{version}.*/bin/python"), Path(f"/usr/bin/python{version}")]
        for python in [place for place in places if place.exists()][:1]:
            found.append(pytest.param([str(python), "-m", "course"], id=version))
    return found


@pytest.mark.parametrize("command", old_pythons())
def test_an_old_python_is_refused_in_one_sentence(command):
    """The sentence names the found version, the needed version, and a command to type."""
    done = subprocess.run(command, cwd=ROOT, env=clean(), capture_output=True, encoding="utf-8")
    line = sentence(done)
    assert "needs Python 3.11 or later" in line
    assert "this is Python" in line
    assert "PYTHON=python3.12" in line


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py"])
def test_the_guard_can_be_read_by_an_old_python(name):
    """The lines before the check are valid in Python 3.6, and plain ASCII for Python 2.7."""
    source = (ROOT / "course" / name).read_text("ascii")
    ast.parse(source, feature_version=(3, 6))
