"""The answers of "Check yourself", and claims about step 5, are provoked by tests in their step."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from course.core.processes import clean_environment
from course.core.steps import ROOT, copy_files, step_files

STEPS = ("step01_echo", "step02_groups", "step03_persistence", "step05_deploy")
ANSWERS = {f"answers{step[4:6]}.py": step for step in STEPS}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_answers_are_right(name, tmp_path):
    """The tests of the answers pass in the step."""
    step = ROOT / ANSWERS[name]
    copy_files(step_files(step), step, tmp_path)
    shutil.copy(Path(__file__).with_name(name), tmp_path / "tests" / "test_answers.py")
    command = [sys.executable, "-m", "pytest", "-q", "tests/test_answers.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
