"""The command line: help, refusals, exit codes."""

import errno
import re
import shutil
import subprocess
import sys

import pytest

from course import cli
from course.checks.tools.conftest import clean, run_course, run_make, sentence
from course.core.steps import ROOT, choices
from course.core.terminal import UserError


def test_make_alone_lists_the_commands_a_line_each():
    """The list names every target of the Makefile, fits a terminal, and comes from the course."""
    listed = run_make()
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
        assert run_make(python=named).stdout.startswith("Django Channels in five steps\n")


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_explains_itself(command, capsys):
    """`--help` describes the command."""
    with pytest.raises(SystemExit) as left:
        cli.build_parser().parse_args([command, "--help"])
    assert left.value.code == 0
    assert cli.COMMANDS[command][1].capitalize() in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("run", f"Which step? Say: make run STEP=1 [PORT=8000] (the steps are {choices()})."),
        ("standalone", "Which step? Say: python -m course standalone 1 (the steps are"),
        ("propagate", "Which step? Say: make propagate FROM=1 (the steps are"),
        ("diff 1", "Which step? Say: make diff FROM=4 TO=5 [PART=1] (the steps are"),
        ("run 99", f"There is no step 99; the steps are {choices()}."),
        ("diff 1 echo?", "There is no step echo?"),
        ("run 1 --port=http", "PORT must be a number from 1024 to 65535, not 'http'"),
        ("run 1 --port=80", "PORT must be"),
        ("run 1 --port=65536", "PORT must be"),
        ("run 1 2", "Unrecognized arguments: 2. See: python -m course --help"),
        ("dance", "Invalid choice: 'dance'"),
        ("run 2 --part=99", "step02_groups has no part 99; its parts are 1"),
        ("test 2 --part=99", "step02_groups has no part 99"),
        ("diff 1 2 --part=99", "step02_groups has no part 99"),
        ("redgreen 2 --part=99", "step02_groups has no part 99"),
        ("redgreen 2 --fix=HEAD", "STEP and FIX do not go together"),
        ("test 2 --only=browser", "STEP and ONLY do not go together"),
        ("bench --runs=many", "RUNS must be a number from 1 to 25"),
        ("test-all --django newest", "DJANGO must be latest or a series"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(arguments, said):
    """The sentence says what is wrong or missing, and what to type, before any installation."""
    with pytest.raises(UserError) as refused:
        cli.dispatch(cli.build_parser().parse_args(arguments.split()))
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_make_knows_each_name():
    """A misspelt name stops make, before the command runs without it."""
    refused = run_make("drift", "ACEPT=1")
    assert refused.returncode == 2
    assert "There is no ACEPT=" in refused.stderr
    written = (ROOT / "Makefile").read_text()
    used = set(re.findall(r"\$\(([A-Z_]+)\)", written)) - {"COURSE", "VARIABLES", "GIVEN"}
    listed = re.search(r"^VARIABLES = ((?:.*\\\n)*.*)", written, re.MULTILINE)
    assert used == set(listed[1].replace("\\", "").split())


def test_make_passes_parameters_on():
    """STEP and PORT reach the course; after a mistake, the exit code is 2."""
    refused = run_make("run", "STEP=1", "PORT=x")
    assert refused.returncode == 2
    assert refused.stderr.startswith("PORT must be a number")
    assert sentence(run_course("diff", "1", "1")).startswith("step01_echo against itself")


def test_a_reader_that_has_seen_enough_is_no_error():
    """If `| head` closes the pipe early, the command ends without a traceback."""
    command, pipe = [sys.executable, "-m", "course", "diff", "1", "2"], subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=clean(), stdout=pipe, stderr=pipe) as course:
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


def test_a_folder_of_somebody_else_is_no_place_to_work(monkeypatch, capsys):
    """In another user's folder, a sentence says where to go."""

    def refuse(options):
        raise PermissionError(errno.EACCES, "denied", "/course/.course")

    monkeypatch.setattr(cli, "dispatch", refuse)
    assert cli.main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("/course/.course cannot be used (denied): copy the course")
