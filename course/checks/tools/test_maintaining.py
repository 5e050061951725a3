"""The commands of docs/maintaining.md do what the page says, in a copy of the course."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from course.checks.tools.conftest import clean
from course.core.steps import ROOT, copy_files, list_folder

PAGE = (ROOT / "docs" / "maintaining.md").read_text("utf-8")


LAST = "step05_deploy"
FENCE = r"(?:<!-- illustration: (\S.*?) -->\n\s*)?```console\n(.*?)```"
# The text before each block of commands that a test types.
BLOCKS = {
    "carry": "The first command shows what the second\n   command does:",
    "carry on": "Solve the conflict by hand, and carry your solution on:",
    "right": "If\n   a file needs no change, declare that:",
    "commit": "Commit before you change the line:",
    "take back": "Then take the commit back:",
    "forget": "and carry everything again:",
    "git": "edit the file by hand, or let\ngit carry the change of the commit:",
    "copy": "Copy the last step, without ignored files, and add the concept:",
    "rename": "later steps use the name in lines that the first step does not have.",
    "rename file": "such as `location.protocol` in JavaScript:",
    "diff": "and let `diff` write the edit:",
}


def block(name):
    """Return the commands of the block after the text with this name."""
    assert PAGE.count(BLOCKS[name]) == 1, name
    fence = re.search(FENCE, PAGE.partition(BLOCKS[name])[2], re.DOTALL)[2]
    return [line.strip().removeprefix("$ ") for line in fence.rstrip().splitlines()]


def test_each_block_is_typed():
    """A block of commands is typed by a test of this file, or the page says why not."""
    typed = {tuple(block(name)) for name in BLOCKS}
    for reason, fence in re.findall(FENCE, PAGE, re.DOTALL):
        lines = tuple(line.strip().removeprefix("$ ") for line in fence.rstrip().splitlines())
        assert (lines in typed) != bool(reason), fence
    code = Path(__file__).read_text("utf-8")
    assert [name for name in BLOCKS if f'block("{name}")' not in code] == []


class Maintainer:
    """A person with a copy of the course, which is a repository with a commit."""

    def __init__(self, course):
        self.course = course
        copy_files(list_folder(ROOT), ROOT, course)
        self.run("git init -q", "git config user.name ann", "git config user.email a@example.com")
        self.run("git add --all", "git commit -qm 'The course'", "git tag start")

    def run(self, *commands):
        """Type commands; return what they print."""
        text = "\n".join(commands)
        done = subprocess.run(
            ["bash", "-ec", text], cwd=self.course, env=clean(), capture_output=True, text=True
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    def consumers(self, step):
        """Return a step's file of consumers."""
        return self.course / step / "chat" / "consumers.py"

    def reword(self, step, old, new):
        """Change a word in the first line of this file, which all steps have."""
        first, rest = self.consumers(step).read_text("utf-8").split("\n", 1)
        assert old in first
        self.consumers(step).write_text(f"{first.replace(old, new)}\n{rest}", "utf-8")

    def says(self, step):
        """Return this line."""
        return self.consumers(step).read_text("utf-8").partition("\n")[0]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Make the copy once for all tests."""
    if os.name == "nt" or not shutil.which("perl"):
        pytest.skip("needs a shell and perl, as on Linux and macOS")
    return Maintainer(tmp_path_factory.mktemp("maintainer") / "course")


@pytest.fixture
def ann(copy):
    """Return the maintainer, with the course as it was at the start."""
    copy.run("git reset -q --hard start", "git clean -qfdx")
    return copy


def test_a_name_is_new_in_all_steps(ann):
    """The commands of "Rename everywhere" leave no old name, and drift agrees."""
    rename, drift, lint = block("rename")
    assert lint == "make lint"  # test_lint.py tests it
    ann.run(rename.replace("old_name", "HISTORY").replace("new_name", "NEWEST"), drift)
    assert ann.run("git grep -lw HISTORY -- 'step*' course/interim || true") == ""
    assert ann.run("git grep -lw NEWEST -- 'step*/chat/consumers.py'").count("\n") == 2


def test_a_file_has_a_new_name_in_all_steps(ann):
    """A file moves with its imports; the projects run, and drift notes the new name."""
    commands = "\n".join(block("rename file"))
    new = commands.replace("chat/old.py", "chat/rooms.py").replace("%old.py", "%rooms.py")
    new = re.sub(r"\bold\b", "rooms", new).replace("$1new", "$1halls").replace("}new", "}halls")
    ann.run(new)
    for step in ann.course.glob("step0[2-5]_*"):
        assert (step / "chat" / "halls.py").exists()
        assert "import" in ann.run(f"grep halls {step.name}/chat/consumers.py")
    ann.run("make drift", "cd step05_deploy", f"'{ROOT / '.venv/bin/python'}' manage.py check")


def test_a_fix_is_carried_and_changed_in_a_later_step(ann):
    """The commands of "Fix a bug everywhere", and those of its first case."""
    ann.reword("step01_echo", "a request", "HTTP")
    ann.run(*block("carry"))
    assert "HTTP" in ann.says("step03_persistence")
    ann.run(*block("commit"))
    ann.reword("step03_persistence", "HTTP", "a GET")
    ann.run(*block("take back"))
    assert "a GET" in ann.says("step05_deploy")
    assert "HTTP" in ann.says("step02_groups")


def test_a_lost_change_is_carried_again(ann):
    """A later step lost the change; the commands make the record forget it, and carry it again."""
    ann.reword("step01_echo", "a request", "HTTP")
    ann.run("make propagate FROM=step01_echo", "git restore step05_deploy")
    assert "HTTP" not in ann.says("step05_deploy")
    ann.run(*block("forget"))
    assert "HTTP" in ann.says("step05_deploy")


def test_git_carries_a_committed_change(ann):
    """A file that lacks a committed change gets it from the commit."""
    ann.reword("step01_echo", "a request", "HTTP")
    carry = "\n".join(block("git"))
    ann.run("git commit -qam 'A fix'", carry.replace("/tmp/change", "../change"))
    assert "HTTP" in ann.says("step05_deploy")


def test_a_step_is_copied(ann):
    """The new step has the files of the last one, and drift asks for its entry."""
    ann.run(*block("copy"))
    assert (ann.course / "step06_name" / "manage.py").exists()
    assert "step06_name" in ann.run("make drift 2>&1 || true")


def test_a_conflict_is_solved_or_declared_right(ann):
    """Later steps have lines of their own: one is solved by hand, and one stays as it is."""
    for step, word in (("step03_persistence", "call"), ("step04_auth", "call"), (LAST, "talk")):
        ann.reword(step, "a request", f"a {word}")
    ann.run("git commit -qam 'Later steps differ'")
    ann.reword("step01_echo", "a request", "HTTP")
    assert "conflict  chat/consumers.py" in ann.run("make propagate FROM=step01_echo || true")
    ann.reword("step03_persistence", "a call", "HTTP")
    ann.run("\n".join(block("carry on")) + " || true")
    assert "HTTP" in ann.says("step04_auth")
    ann.run("make drift && exit 1 || true", *block("right"))
    assert "a talk" in ann.says(LAST)


def test_diff_writes_an_edit(ann):
    """The difference has the form of a recipe's edit."""
    ann.run("cp -r step04_auth presence", "sed -i.old '1s/.*/# New/' presence/chat/views.py")
    edit = ann.run(*block("diff"))
    assert "\n+# New\n" in f"\n{edit}"
    assert "@@" not in edit.partition("@@ … @@")[0]
