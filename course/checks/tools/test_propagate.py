"""`make propagate`, on a small course in a repository of its own."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from course import cli
from course.checks.tools.conftest import add_step, clean, plant, run_course
from course.core.processes import clean_environment
from course.core.terminal import UserError
from course.maintain import propagate

STEPS = ONE, TWO, THREE, FOUR = ["step01_a", "step02_b", "step03_c", "step04_d"]
PARTS = FIRST, SECOND = [f"course/interim/{THREE}/part{n}" for n in ("01", "02")]
LATER = [TWO, *PARTS, THREE, FOUR]
CHAT, SAME = "chat/chat.py", "chat/same.py"
NAMED = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
SETTINGS = """
[apply]
    whitespace = error
[core]
    safecrlf = true
    fsync = none
[color]
    ui = always
[diff]
    noprefix = true
    external = false
[merge]
    conflictStyle = zdiff3
[rerere]
    enabled = true
"""


def git(root, *arguments):
    """Run git in `root`; return what it printed."""
    command = ["git", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout


def commit(root):
    """Commit everything in `root`."""
    git(root, "add", "--all")
    git(root, *NAMED, "commit", "-qm", "Work")


def text(tree):
    """Return the 30 lines of a file; line 20 names its tree."""
    lines = [f"line {n}\n" for n in range(1, 31)]
    lines[19] = f"from {tree}\n"
    return "".join(lines)


@pytest.fixture(scope="session")
def committed(tmp_path_factory):
    """A repository of four steps and two parts; line 20 of each chat.py differs."""
    root = tmp_path_factory.mktemp("committed") / "my course"
    for label in STEPS:
        files = {CHAT: text(label), SAME: text("all"), "README.md": label}
        (add_step(root, label, files) / "a.png").write_bytes(b"\x89PNG\0\n")
    for folder in PARTS:
        (root / folder / "chat").mkdir(parents=True)
        (root / folder / CHAT).write_text(text(folder))
    (root / ".gitignore").write_text(".course/\n*.ignored\n")
    (root / ".gitattributes").write_text("* text=auto eol=lf\n")
    git(root, "init", "-q")
    commit(root)
    return root


@pytest.fixture
def root(committed, tmp_path, monkeypatch):
    """A copy of that repository; the reader has settings for git, but no name."""
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text(SETTINGS)
    return shutil.copytree(committed, tmp_path / "my course")


def edit(root, name, before, after):
    """Replace a text in a file, once."""
    content = (root / name).read_text()
    assert content.count(before) == 1
    (root / name).write_text(content.replace(before, after))


def state(root):
    """Return the bytes and the mode of each file in `root`, and of git's index."""
    files = [p for p in root.rglob("*") if p.is_file() and ".git" not in p.parts]
    return {p: (p.read_bytes(), p.stat().st_mode) for p in [*files, root / ".git" / "index"]}


def changed(root):
    """Return the files that git sees as changed or new."""
    listing = git(root, "status", "--porcelain", "-z", "--untracked-files=all").split("\0")
    return {entry[3:] for entry in listing if entry}


def holding(root, line, path=CHAT):
    """Return the later trees whose file holds a line."""
    files = {tree: root / tree / path for tree in LATER}
    return [tree for tree in LATER if files[tree].exists() and line in files[tree].read_text()]


def waiting(root, capsys):
    """Return the files that `make drift` names, after checking its exit code."""
    capsys.readouterr()
    code = propagate.remind(root)
    names = [line.split(" lacks ")[0] for line in capsys.readouterr().out.splitlines()]
    assert code == bool(names)
    return names


def make_conflict(root, *trees):
    """Carry two changed files of step 1: the first has a conflict in `trees`, the second waits."""
    for tree in trees:
        edit(root, f"{tree}/{CHAT}", "line 4\n", "local\n")
    commit(root)
    edit(root, f"{ONE}/{CHAT}", "line 4\n", "fixed\n")
    edit(root, f"{ONE}/{CHAT}", "line 14\n", "more\n")
    edit(root, f"{ONE}/{SAME}", "line 4\n", "fixed\n")
    assert propagate.propagate("1", root=root) == 1


def test_a_fix_reaches_each_later_step_and_interim_file(root, capsys):
    """Each file keeps its own line 20. A second run has nothing to do."""
    edit(root, f"{ONE}/{CHAT}", "line 18\n", "fixed\n")
    assert propagate.propagate("1", root=root) == 0
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if line[0] != " "] == LATER
    assert shown.count(f"\n  changed   {CHAT}\n") == len(LATER)
    assert propagate.propagate("1", root=root) == 0
    assert capsys.readouterr().out == f"Each later step has the changes of {ONE}.\n"
    for tree in LATER:
        assert (root / tree / CHAT).read_text() == text(tree).replace("line 18\n", "fixed\n")
    assert changed(root) == {f"{tree}/{CHAT}" for tree in (ONE, *LATER)}


def test_a_fix_of_an_interim_file_reaches_the_later_parts_and_steps(root):
    """The trees before that part stay as they are. A new interim file is not carried."""
    edit(root, f"{FIRST}/{CHAT}", "line 4\n", "fixed\n")
    (root / FIRST / SAME).write_text("new\n")
    assert propagate.propagate("3", "1", root=root) == 0
    assert holding(root, "fixed\n") == [FIRST, SECOND, THREE, FOUR]
    assert holding(root, "new\n", SAME) == [FIRST]


def test_every_kind_of_change_is_carried(root, capsys):
    """Additions, deletions, renames, pictures and executable bits are carried, staged or not."""
    step = root / ONE
    (step / "chat" / "日本 語[1].py").write_text("new\n")
    (step / ":new.py").write_bytes(b"new\r\n")
    (step / "a.png").write_bytes(b"\x89PNG\0\xff\n")
    (step / "manage.py").chmod(0o755)
    git(root, "rm", "-q", f"{ONE}/{SAME}")
    git(root, "mv", f"{ONE}/{CHAT}", f"{ONE}/talk.py")
    edit(root, f"{ONE}/talk.py", "line 4\n", "fixed \n")
    (step / "x.ignored").write_text("mine")
    (step / "README.md").write_text("mine")
    assert propagate.propagate(ONE, root=root) == 0
    for tree in LATER:
        files = {p.relative_to(root / tree).as_posix() for p in (root / tree).rglob("*.*")}
        step_files = {"manage.py", "a.png", "README.md", ":new.py", "chat/日本 語[1].py"}
        assert files == {"talk.py"} | (set() if tree in PARTS else step_files)
        assert (root / tree / "talk.py").read_text() == text(tree).replace("line 4\n", "fixed \n")
        assert (root / tree / "chat").exists() == (tree in STEPS)
        if tree in STEPS:
            assert (root / tree / "a.png").read_bytes() == b"\x89PNG\0\xff\n"
            assert os.access(root / tree / "manage.py", os.X_OK)
            assert (root / tree / "README.md").read_text() == tree
    assert f"renamed   {CHAT} → talk.py\n" in capsys.readouterr().out


def test_a_renamed_file_takes_changes_of_each_later_step(root):
    """Each later tree has the new name already, and takes the change all the same."""
    (root / ONE / CHAT).rename(root / ONE / "talk.py")
    assert propagate.propagate("1", root=root) == 0
    edit(root, f"{TWO}/talk.py", "line 4\n", "fixed\n")
    assert propagate.propagate("2", root=root) == 0
    assert holding(root, "fixed\n", "talk.py") == LATER
    assert holding(root, "line 1\n") == []


def test_a_file_that_a_later_step_does_not_have_is_left_out(root, capsys):
    """One line names the file; the other files are carried, and no file waits."""
    (root / THREE / SAME).unlink()
    commit(root)
    edit(root, f"{ONE}/{SAME}", "line 4\n", "fixed\n")
    assert propagate.propagate("1", root=root) == 0
    assert f"  left out  {SAME}: {THREE} has no such file\n" in capsys.readouterr().out
    assert holding(root, "fixed\n", SAME) == [TWO, FOUR]


def test_a_conflict_leaves_its_tree_as_it_was_and_the_others_get_the_change(root, capsys):
    """The output names the file, its lines, and the part of the diff that does not apply."""
    edit(root, f"{THREE}/{CHAT}", "line 9\n", "added\nadded\nlocal\n")
    commit(root)
    edit(root, f"{ONE}/{CHAT}", "line 2\nline 3\n", "line 2\nmore\nmore\nline 3\n")
    edit(root, f"{ONE}/{CHAT}", "line 9\n", "fixed\n")
    edit(root, f"{ONE}/{SAME}", "line 4\n", "fixed\n")
    assert propagate.propagate("1", root=root) == 1
    shown = capsys.readouterr().out
    ours = "line 9:\n      ++<<<<<<< ours\n       +added\n       +added\n       +local\n"
    change = "      ++||||||| base\n      ++line 9\n      ++=======\n      + fixed\n"
    assert (
        f"\n{THREE}: left as it is, because of a conflict\n  conflict  chat/chat.py\n    {ours}"
        f"{change}      ++>>>>>>> theirs\n  waits     chat/same.py\n{FOUR}\n"
    ) in shown
    assert not any(name.startswith(THREE) for name in changed(root))
    assert holding(root, "fixed\n") == [TWO, FIRST, SECOND, FOUR]
    assert waiting(root, capsys) == [f"{THREE}/{CHAT}", f"{THREE}/chat/same.py"]


def test_each_kind_of_conflict_is_one(root, capsys):
    """A conflict is another picture, a deleted file that differs, or a name already in use."""
    (root / TWO / "a.png").write_bytes(b"\x89PNG\0two")
    edit(root, f"{THREE}/chat/same.py", "line 9\n", "local\n")
    (root / TWO / "talk.py").write_text("two\n")
    (root / FOUR / "new.py").write_text("four\n")
    commit(root)
    (root / ONE / "a.png").write_bytes(b"\x89PNG\0one")
    (root / ONE / "chat/same.py").unlink()
    (root / ONE / CHAT).rename(root / ONE / "talk.py")
    (root / ONE / "new.py").write_text("one\n")
    assert propagate.propagate("1", root=root) == 1
    shown = capsys.readouterr().out
    for said in [
        "a.png\n    git apply failed. It said: Cannot merge binary files: a.png (ours vs. theirs)",
        "chat/chat.py → talk.py\n    another talk.py is there",
        "chat/same.py\n    deleted there, and different here",
        "new.py\n    line 1:\n      ++<<<<<<< ours\n       +four",
    ]:
        assert f"  conflict  {said}\n" in shown
    assert not any(name.startswith(TWO) for name in changed(root))
    assert {f"{TWO}/talk.py", f"{THREE}/chat/same.py"} < set(waiting(root, capsys))


@pytest.fixture(scope="session")
def solved_once(committed, tmp_path_factory):
    """A change that step 2 takes; its conflicts in the other trees are solved."""
    root = shutil.copytree(committed, tmp_path_factory.mktemp("solved") / "my course")
    edit(root, f"{TWO}/{CHAT}", f"from {TWO}\n", f"from {ONE}\n")
    commit(root)
    edit(root, f"{ONE}/{CHAT}", f"from {ONE}\n", "one\n")
    assert propagate.propagate("1", root=root) == 1
    conflicts = [f"{tree}/{CHAT}" for tree in (FIRST, SECOND, THREE, FOUR)]
    assert propagate.lacking(propagate.recall(root), root) == conflicts
    for tree, line in ((FIRST, "first"), (THREE, "three"), (FOUR, "four")):
        edit(root, f"{tree}/{CHAT}", f"from {tree}\n", f"{line}\n")
    assert propagate.declare_right(f"{SECOND}/chat\\chat.py", root) == 0
    assert propagate.remind(root) == 0
    return root


@pytest.fixture
def solved(solved_once, root):
    """A copy of that repository."""
    shutil.rmtree(root)
    return shutil.copytree(solved_once, root)


@pytest.mark.parametrize("source", [ONE, TWO, FIRST, THREE])
def test_what_was_solved_is_not_asked_again(solved, source):
    """FROM may be the step of the change, a step that took it, or a step that was solved by hand.

    A new change of that step reaches the later files, the solved ones included.
    """
    part = ("3", "1") if source == FIRST else (source,)
    later = LATER[LATER.index(source) :] if source in LATER else LATER
    solutions = {tree: (solved / tree / CHAT).read_text().splitlines()[19] for tree in LATER}
    for old, new in (("line 4\n", "more\n"), ("line 9\n", "again\n")):
        edit(solved, f"{source}/{CHAT}", old, new)
        assert propagate.propagate(*part, root=solved) == 0
        # The file that was declared right is kept in the first run.
        left = [SECOND] if (source, new) == (FIRST, "more\n") else []
        assert holding(solved, new) == [tree for tree in later if tree not in left]
        for tree in LATER:
            assert (solved / tree / CHAT).read_text().splitlines()[19] == solutions[tree]


def test_a_step_that_took_a_change_goes_on_from_it_after_a_commit(root):
    """This is the recipe in docs/maintaining.md; the commit can be taken back."""
    edit(root, f"{ONE}/{CHAT}", "line 4\n", "one\n")
    propagate.propagate("1", root=root)
    commit(root)
    edit(root, f"{TWO}/{CHAT}", "one\n", "two\n")
    assert propagate.propagate("2", root=root) == 0
    git(root, "reset", "-q", "--soft", "HEAD^")
    assert holding(root, "two\n") == LATER


def test_what_was_solved_by_hand_goes_on_from_there(root, capsys):
    """The second of two commands changes the waiting files, but no file that is declared right."""
    for tree in (SECOND, THREE, FOUR):
        edit(root, f"{tree}/{CHAT}", f"from {tree}\n", "from part 1\n")
    edit(root, f"{FIRST}/{CHAT}", f"from {FIRST}\n", "from part 1\n")
    edit(root, f"{TWO}/{CHAT}", f"from {TWO}\n", f"from {ONE}\n")
    commit(root)
    edit(root, f"{ONE}/{CHAT}", f"from {ONE}\n", "one\n")
    assert propagate.propagate("1", root=root) == 1
    edit(root, f"{FIRST}/{CHAT}", "from part 1\n", "by hand\n")
    propagate.declare_right(f"{THREE}/{CHAT}", root)
    assert propagate.propagate("3", "1", root=root) == 0
    assert holding(root, "by hand\n") == [FIRST, SECOND, FOUR]
    assert waiting(root, capsys) == []


def test_a_solution_of_one_conflict_leaves_another_of_the_same_file_open(root, capsys):
    """Step 3 has one of the two conflicts of step 4, and is solved by hand."""
    for tree, *lines in ((THREE, 4), (FOUR, 4, 25)):
        for number in lines:
            edit(root, f"{tree}/{CHAT}", f"line {number}\n", f"own {number}\n")
    commit(root)
    for number in (4, 25):
        edit(root, f"{ONE}/{CHAT}", f"line {number}\n", f"fixed {number}\n")
    assert propagate.propagate("1", root=root) == 1
    edit(root, f"{THREE}/{CHAT}", "own 4\n", "fixed by hand\n")
    for source in ("3", "1"):
        propagate.propagate(source, root=root)
    assert waiting(root, capsys) == [f"{FOUR}/{CHAT}"]


def test_a_file_that_is_right_without_a_change_has_not_taken_it(solved, capsys):
    """If the right file changes the same line later, a later file has a conflict."""
    edit(solved, f"{SECOND}/{CHAT}", f"from {SECOND}\n", "second\n")
    assert propagate.propagate("3", "2", root=solved) == 1
    assert waiting(solved, capsys) == [f"{THREE}/{CHAT}", f"{FOUR}/{CHAT}"]


def test_what_was_carried_can_be_forgotten(root, capsys):
    """This is the other recipe: a step that lost the change gets it again, and no file waits."""
    make_conflict(root, FOUR)
    git(root, "checkout", "-q", "--", TWO)
    with pytest.raises(UserError, match="no changes to carry"):
        propagate.propagate("2", root=root)
    (root / propagate.MEMORY).unlink()
    assert waiting(root, capsys) == []
    assert propagate.propagate("1", root=root) == 1
    assert holding(root, "fixed\n") == LATER[:-1]


def test_a_tree_gets_the_rest_when_its_conflict_is_solved(root, capsys):
    """The same command brings the other lines of the file, and the tree's other files."""
    make_conflict(root, THREE)
    edit(root, f"{THREE}/{CHAT}", "local\n", "fixed here\n")
    edit(root, f"{THREE}/{SAME}", "line 9\n", "more\n")
    assert waiting(root, capsys) == [f"{THREE}/{SAME}"]
    assert propagate.propagate("1", root=root) == 0
    assert holding(root, "fixed\n", SAME) == [TWO, THREE, FOUR]
    assert holding(root, "fixed here\n") == [THREE]
    assert holding(root, "more\n") == LATER
    assert waiting(root, capsys) == []


def test_a_waiting_file_that_is_right_takes_nothing(root, capsys):
    """The change would apply, but the file was declared right."""
    make_conflict(root, FOUR)
    for path in (CHAT, SAME):
        propagate.declare_right(f"{FOUR}/{path}", root)
    for source in ("1", "2"):
        assert propagate.propagate(source, root=root) == 0
    assert holding(root, "fixed\n", SAME) == [TWO, THREE]
    assert waiting(root, capsys) == []


def test_a_waiting_file_may_take_other_changes_and_waits_on(root, capsys):
    """Another file of the tree has a conflict, so the waiting file waits after an edit."""
    make_conflict(root, THREE, FOUR)
    edit(root, f"{THREE}/{SAME}", "line 9\n", "more\n")
    propagate.propagate("3", root=root)
    assert holding(root, "more\n", SAME) == [THREE, FOUR]
    edit(root, f"{FOUR}/{SAME}", "line 14\n", "again\n")
    assert f"{FOUR}/{SAME}" in waiting(root, capsys)


def test_an_undone_change_is_missed_by_no_file(root, capsys):
    """The conflict is gone with the change, so no file waits after the next run."""
    make_conflict(root, THREE)
    edit(root, f"{ONE}/{CHAT}", "fixed\n", "line 4\n")
    assert propagate.propagate("1", root=root) == 0
    assert waiting(root, capsys) == []


def test_a_file_is_changed_again_before_the_commit(root):
    """Each run carries only the difference since the last run, also of a new or renamed file."""
    new, newer = root / ONE / "new.py", root / ONE / "newer.py"
    new.write_text(text("new"))
    (root / TWO / "new.py").write_text(text("new"))
    for was, now in [("line 4", "one"), ("one", "two"), ("two", "line 4")]:
        edit(root, f"{ONE}/{CHAT}", f"{was}\n", f"{now}\n")
        assert propagate.propagate("1", root=root) == 0
        assert holding(root, f"{now}\n") == LATER
        edit(root, f"{ONE}/new.py", f"{was}\n", f"{now}\n")
    new.rename(newer)
    assert propagate.propagate("1", root=root) == 0
    assert holding(root, text("new"), "newer.py") == [TWO, THREE, FOUR]
    newer.unlink()
    assert propagate.propagate("1", root=root) == 0
    assert changed(root) == set()


@pytest.mark.parametrize("source", [ONE, TWO])
def test_a_change_that_was_missed_is_not_forgotten(root, capsys, source):
    """A file waits even after a commit or another change, from the same step or a later one."""
    edit(root, f"{ONE}/{CHAT}", f"from {ONE}\n", "one\n")
    propagate.propagate("1", root=root)
    missed = [f"{tree}/{CHAT}" for tree in LATER]
    assert waiting(root, capsys) == missed
    commit(root)
    edit(root, f"{source}/{CHAT}", "line 4\n", "fixed\n")
    assert propagate.propagate(source, root=root) == 1
    assert holding(root, "fixed\n") == LATER
    missed = [name for name in missed if not name.startswith(source)]
    assert waiting(root, capsys) == missed
    edit(root, f"{FOUR}/{CHAT}", f"from {FOUR}\n", "one\n")
    assert waiting(root, capsys) == missed[:-1]


def test_a_dry_run_names_every_conflict_and_writes_nothing(root, capsys):
    """A dry run does not change git's index either. The real run prints the same lines."""
    edit(root, f"{TWO}/{CHAT}", f"from {TWO}\n", f"from {ONE}\n")
    edit(root, f"{ONE}/{CHAT}", f"from {ONE}\n", "one\n")
    (root / ONE / "new.py").write_text("new\n")
    (root / ONE / "a.png").unlink()
    before = state(root)
    assert propagate.propagate("1", dry_run=True, root=root) == 1
    assert state(root) == before
    dry = capsys.readouterr().out
    assert dry.count(f"++from {ONE}\n      ++=======\n      + one\n") == len(LATER) - 1
    assert propagate.propagate("1", root=root) == 1
    done = capsys.readouterr().out
    assert dry.endswith("Nothing was written: this was a dry run.\n")
    assert done.startswith(dry.removesuffix("Nothing was written: this was a dry run.\n"))


def test_the_readers_index_is_left_alone(root):
    """Staged changes stay staged; the content on disk is carried."""
    edit(root, f"{ONE}/{CHAT}", "line 4\n", "one\n")
    edit(root, f"{TWO}/{CHAT}", "line 9\n", "two\n")
    git(root, "add", "--all")
    edit(root, f"{ONE}/{CHAT}", "one\n", "fixed\n")
    edit(root, f"{FOUR}/{CHAT}", f"from {FOUR}\n", "mine\n")
    index = (root / ".git" / "index").read_bytes()
    assert propagate.propagate("1", root=root) == 0
    assert (root / ".git" / "index").read_bytes() == index
    assert holding(root, "fixed\n") == LATER
    assert "two\n" in (root / TWO / CHAT).read_text()
    assert "mine\n" in (root / FOUR / CHAT).read_text()


def test_the_command_line(tmp_path, monkeypatch):
    """The command works with a space in the path, below the repository's top, and with GIT_DIR."""
    root = plant(tmp_path / "my course" / "here")
    for label in ("step01_echo", "step02_groups"):
        (root / label / "a b.py").write_text(f"{label}\n")
    git(root.parent, "init", "-q")
    commit(root.parent)
    (root / "step01_echo" / "a b.py").write_text("new\n")
    (root / "step01_echo" / "manage.py").write_text("new\n")
    shown = run_course("propagate", "1", root=root, GIT_DIR=str(tmp_path / "elsewhere"))
    assert shown.returncode == 1
    assert "make propagate RIGHT='step02_groups/a b.py'" in shown.stdout
    make = ["make", f"PYTHON={sys.executable}", "propagate"]
    right = [*make, "RIGHT=step02_groups/a b.py"]
    subprocess.run(right, cwd=root, env=clean(), check=True)
    assert propagate.remind(root) == 1  # the other file waits
    dry = subprocess.check_output([*make, "-n", "FROM=1", "PART=4", "DRY_RUN=1"], cwd=root)
    assert re.search(rb"(?s) propagate 1 --part=4 .*--dry-run", dry)
    # `make drift` fails for the waiting file alone: the manifest has no problem here.
    monkeypatch.setattr(cli.drift, "drift", lambda *_: 0)
    for code in (0, 1):
        monkeypatch.setattr(propagate, "remind", lambda code=code: code)
        assert cli.dispatch(cli.build_parser().parse_args(["drift"])) == code


def test_a_merge_that_is_not_finished_is_refused(root):
    """The merge must be finished first; otherwise git's conflict markers would be carried."""
    edit(root, f"{ONE}/{CHAT}", "line 4\n", "first\n")
    git(root, *NAMED, "stash")
    edit(root, f"{ONE}/{CHAT}", "line 4\n", "second\n")
    commit(root)
    with pytest.raises(subprocess.CalledProcessError):
        git(root, *NAMED, "stash", "pop")
    before = state(root)
    with pytest.raises(UserError, match="Git has not finished merging"):
        propagate.propagate("1", root=root)
    assert state(root) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["1"], f"{ONE} has no changes to carry since the last commit"),
        (["9"], "There is no step 9; the steps are 1 "),
        (["4"], f"{FOUR} is the last step"),
        (["3", "7"], f"There is no folder course/interim/{THREE}/part07"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(root, arguments, said):
    """A wrong step or part, no later step and no change are mistakes; README.md is no change."""
    (root / ONE / "README.md").write_text("new\n")
    with pytest.raises(UserError, match=said):
        propagate.propagate(*arguments, root=root)
    with pytest.raises(UserError, match=f"{TWO}/{CHAT} lacks no change"):
        propagate.declare_right(f"{TWO}/{CHAT}", root)


def test_without_git_there_is_nothing_to_compare_with(root, monkeypatch):
    """Without a checkout, a commit or git, one sentence says so."""
    shutil.rmtree(root / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(root.parent))
    with pytest.raises(UserError, match=r"finds no last commit in .*not a git repository"):
        propagate.propagate("1", root=root)
    git(root, "init", "-q")
    with pytest.raises(UserError, match="finds no last commit in"):
        propagate.propagate("1", root=root)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="needs git"):
        propagate.propagate("1", root=root)
