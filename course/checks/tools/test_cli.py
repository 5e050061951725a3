"""The command line: help, refusals, exit codes."""

import errno
import os
import re
import shutil
import subprocess
import sys

import pytest

from course import cli
from course.checks.tools.conftest import clean, run_course, sentence
from course.core.steps import ROOT, choices


def make(*arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess:
    """Run `make` with this Python; return the process."""
    command = ["make", *arguments, f"PYTHON={python}"]
    return subprocess.run(command, cwd=ROOT, env=clean(), capture_output=True, encoding="utf-8")


def test_make_alone_lists_the_commands_a_line_each():
    """The list names every target of the Makefile, fits a terminal, and comes from the course."""
    listed = make()
    assert listed.returncode == 0
    assert listed.stdout == run_course().stdout
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets - {"help"} == set(re.findall(r"^  make ([\w-]+)", listed.stdout, re.MULTILINE))
    assert all(len(line) <= 80 for line in listed.stdout.splitlines())


def test_make_takes_a_path_with_a_space_and_a_command_of_several_words(tmp_path):
    """PYTHON may be a path with a space, or a command such as "uv run python"."""
    python = tmp_path / "my コース" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    for named in (str(python), f"env '{python}'"):
        assert make(python=named).stdout.startswith("Django Channels in five steps\n")


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_explains_itself(command):
    """`--help` describes the command."""
    shown = run_course(command, "--help")
    assert shown.returncode == 0
    assert cli.COMMANDS[command][1].capitalize() in " ".join(shown.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "Which step? Say: make run STEP=1"),
        (["test"], "Which step? Say: make test STEP=1"),
        (["standalone"], "Which step?"),
        (["diff"], "Which two steps? Say: make diff FROM=1 TO=2"),
        (["diff", "1"], "Which two steps?"),
        (["run", "99"], "There is no step 99"),
        (["test", "echo?"], "There is no step echo?"),
        (["standalone", "99"], "There is no step 99"),
        (["diff", "1", "99"], "There is no step 99"),
        (["run", "1", "--port=http"], "PORT must be a number from 1 to 65535, not 'http'"),
        (["run", "1", "--port=0"], "PORT must be"),
        (["run", "1", "--port=65536"], "PORT must be"),
        (["run", "1", "2"], "Unrecognized arguments: 2"),
        (["dance"], "Invalid choice: 'dance'"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(arguments, said):
    """After a wrong or missing argument, the exit code is 2, and one sentence helps."""
    assert said in sentence(run_course(*arguments))


def test_the_sentence_names_the_steps_there_are():
    """If a command lacks its step, the sentence names all steps."""
    assert choices() in sentence(run_course("run"))


def test_make_passes_parameters_on():
    """STEP and PORT reach the course, and the reader sees the sentence of the course."""
    refused = make("run", "STEP=1", "PORT=x")
    assert refused.returncode == 2
    assert refused.stderr.startswith("PORT must be a number")
    assert make("diff", "FROM=1", "TO=1").stderr.startswith("step01_echo against itself")


def test_a_reader_that_has_seen_enough_is_no_error():
    """If `| head` closes the pipe early, the command ends without a traceback."""
    command = [sys.executable, "-c", "import os, sys; os.close(0)"]
    with subprocess.Popen(
        [sys.executable, "-m", "course", "diff", "1", "2"],
        cwd=ROOT,
        env=clean(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as course:
        subprocess.run(command, stdin=course.stdout)
        course.stdout.close()
        assert course.stderr.read() == b""


@pytest.mark.skipif(not shutil.which("git"), reason="there is no git here")
def test_git_works_where_the_course_is(tmp_path):
    """Commands ignore the variables of a git hook, which would lead to another repository."""
    for name in ("here", "elsewhere"):
        subprocess.run(["git", "init", "-q", name], cwd=tmp_path, check=True)
    code = """
import subprocess, sys
from course import cli
cli.dispatch = lambda options: subprocess.call(["git", "rev-parse", "--absolute-git-dir"])
sys.exit(cli.main([]))
"""
    env = clean() | {"GIT_DIR": str(tmp_path / "elsewhere" / ".git"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    shown = subprocess.check_output(command, cwd=tmp_path / "here", env=env, text=True)
    assert shown.strip() == str(tmp_path / "here" / ".git")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_of_somebody_else_is_no_place_to_work(fresh, code):
    """In another user's folder or on a read-only disk, a sentence says where to go."""
    script = f"""
import os, pathlib, sys
from course import cli
def refuse(path, *_, **__):
    raise OSError({code}, os.strerror({code}), str(path))
pathlib.Path.mkdir = refuse
sys.exit(cli.main(["run", "1", "--port=8644"]))
"""
    command = [sys.executable, "-c", script]
    line = sentence(subprocess.run(command, cwd=fresh, env=clean(), capture_output=True, text=True))
    assert line.startswith(f"{fresh / '.course'} cannot be used ({os.strerror(code)}): ")
