"""The commands of docs/maintaining.md do what the page says, in a copy of the course."""

import os
import re
import shutil
import subprocess

import pytest

from course.checks.tools.conftest import clean
from course.core.steps import ROOT, copy_files, list_folder

PAGE = (ROOT / "docs" / "maintaining.md").read_text("utf-8")
LATER, LAST = "step03_persistence", "step05_deploy"
NAME = ["-c", "user.name=ann", "-c", "user.email=ann@example.com"]


def block(after):
    """Return the commands of the first console block after a text of the page."""
    assert PAGE.count(after) == 1, after
    (fence,) = re.findall(r"```console\n(.*?)```", PAGE.partition(after)[2], re.DOTALL)[:1]
    return [line.strip().removeprefix("$ ") for line in fence.rstrip().splitlines()]


@pytest.fixture
def run(tmp_path):
    """Return a function that types commands in a copy of the course, a repository with a commit."""
    if os.name == "nt" or not shutil.which("perl"):
        pytest.skip("needs a shell and perl, as on Linux and macOS")
    course = tmp_path / "course"
    copy_files(list_folder(ROOT), ROOT, course)

    def run(*commands):
        text = "\n".join(commands)
        done = subprocess.run(
            ["bash", "-ec", text], cwd=course, env=clean(), capture_output=True, text=True
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    git = " ".join(["git", *map(repr, NAME)])
    run("git init -q", "git add --all", f"{git} commit -qm 'The course'")
    run.course, run.commit = course, f"{git} commit -qam 'A fix'"
    return run


def test_a_name_is_new_in_all_steps(run):
    """The commands of "Rename everywhere" leave no old name, and drift agrees."""
    rename, drift, lint = block("tool here: later steps use the name in lines that the first step")
    assert lint == "make lint"  # test_lint.py tests it
    run(rename.replace("old_name", "HISTORY").replace("new_name", "NEWEST"), drift)
    assert run("git grep -lw HISTORY -- 'step*' course/interim || true") == ""
    assert run("git grep -lw NEWEST -- 'step*/chat/consumers.py'").count("\n") == 2


def test_a_file_has_a_new_name_in_all_steps(run):
    """A file moves with its imports; the projects run, and drift notes the new name."""
    commands = "\n".join(block("such as `location.protocol` in JavaScript:"))
    new = commands.replace("chat/old.py", "chat/rooms.py").replace("%old.py", "%rooms.py")
    new = re.sub(r"\bold\b", "rooms", new).replace("$1new", "$1halls").replace("}new", "}halls")
    run(new)
    for step in run.course.glob("step0[2-5]_*"):
        assert (step / "chat" / "halls.py").exists()
        assert "import" in run(f"grep halls {step.name}/chat/consumers.py")
    run("make drift", "cd step05_deploy", f"'{ROOT / '.venv/bin/python'}' manage.py check")


def test_a_fix_is_carried_and_carried_again(run):
    """The commands of "Fix a bug everywhere", and those of its two cases, in their order."""
    first, third = (run.course / step / "chat" / "consumers.py" for step in ("step01_echo", LATER))
    old, new, newer = (f"what a view is to {what}" for what in ("a request", "HTTP", "a GET"))
    first.write_text(first.read_text().replace(old, new))
    run(*block("The first command shows what the second\n   command does:"))
    assert new in third.read_text()
    commit, carry_on = (
        block("Commit before you change the line:"),
        block("Then take the commit back:"),
    )
    run("\n".join(commit).replace("git commit", f"git {' '.join(map(repr, NAME))} commit"))
    third.write_text(third.read_text().replace(new, newer))
    run(*carry_on)
    assert newer in (run.course / LAST / "chat" / "consumers.py").read_text()


def test_a_lost_change_is_carried_again(run):
    """A later step lost the change; the commands make the record forget it, and carry it again."""
    first, last = (run.course / step / "chat" / "consumers.py" for step in ("step01_echo", LAST))
    old, new = "what a view is to a request", "what a view is to HTTP"
    first.write_text(first.read_text().replace(old, new))
    run("make propagate FROM=step01_echo", f"git restore {last}")
    assert new not in last.read_text()
    run(*block("and carry everything again:"))
    assert new in last.read_text()


def test_a_step_is_copied(run):
    """The new step has the files of the last one, and drift asks for its entry."""
    run(*block("Copy the last step, without ignored files, and add the concept:"))
    assert (run.course / "step06_name" / "manage.py").exists()
    assert "step06_name" in run("make drift 2>&1 || true")


def test_git_carries_a_committed_change(run):
    """A file that lacks a committed change gets it from the commit."""
    file = run.course / "step01_echo" / "chat" / "consumers.py"
    old, new = "what a view is to a request", "what a view is to an HTTP request"
    file.write_text(file.read_text().replace(old, new))
    carry = "\n".join(block("edit the file by hand, or let\ngit carry"))
    run(run.commit, carry.replace("/tmp/change", "../change"))
    assert new in (run.course / LAST / "chat" / "consumers.py").read_text()
