"""`make propagate`, on a copy of the first four steps in a repository of its own."""

import os
import shutil
import subprocess

import pytest

from course import propagate
from course.processes import clean_environment
from course.propagate import places
from course.steps import ROOT, all_steps, copy_files, step_files
from course.terminal import UserError
from course.tests.conftest import add_step

STEPS = all_steps()[:4]
LABELS = ONE, TWO, THREE, FOUR = [step.label for step in STEPS]
PICTURE = b"\x89PNG\r\n\0\n"
CONSUMERS = "chat/consumers.py"
NAMED = ["-c", "user.name=A", "-c", "user.email=a@example.com"]


def git(root, *arguments):
    """Run git in `root`; return what it printed."""
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, encoding="utf-8", check=True
    )
    return done.stdout


def commit(root):
    """Commit everything in `root`."""
    git(root, "add", "--all")
    git(root, *NAMED, "commit", "-qm", "Work")


@pytest.fixture(scope="session")
def committed(tmp_path_factory):
    """A repository in which real steps, and a picture in each, are committed."""
    root = tmp_path_factory.mktemp("committed")
    (root / "course").mkdir()
    entries = (ROOT / "course" / "steps.toml").read_text("utf-8").split("[[step]]")
    manifest = "[[step]]".join(entries[: len(STEPS) + 1])
    (root / "course" / "steps.toml").write_text(manifest, "utf-8")
    for name in (".gitignore", ".gitattributes"):
        shutil.copy(ROOT / name, root)
    for step in STEPS:
        copy_files(step_files(step.folder), step.folder, root / step.label)
        (root / step.label / "chat" / "static" / "chat" / "a.png").write_bytes(PICTURE)
    git(root, "init", "-q")
    commit(root)
    return root


@pytest.fixture
def root(committed, tmp_path, monkeypatch):
    """A copy of that repository, to work in."""
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    return shutil.copytree(committed, tmp_path / "course", symlinks=True)


def edit(file, before, after):
    """Replace a text in a file, once."""
    text = file.read_text("utf-8")
    assert text.count(before) == 1
    file.write_text(text.replace(before, after), "utf-8")


def state(root):
    """Return the bytes and the mode of each file of the course, and git's index."""
    files = {p: (p.read_bytes(), p.stat().st_mode) for p in root.rglob("step*/**/*") if p.is_file()}
    return files, git(root, "ls-files", "--stage"), git(root, "status", "--porcelain")


def lines_of(shown, label):
    """Return the lines shown under a step, with single blanks."""
    block = shown.split(f"\n{label}\n")[1].split("\n\n")[0]
    return [" ".join(line.split()) for line in block.splitlines()]


def test_a_fix_reaches_every_later_step(root, capsys):
    """A corrected line of step 1's protocol.py, the file being the same everywhere."""
    edit(root / ONE / "chat" / "protocol.py", "MAX_LENGTH = 1000 ", "MAX_LENGTH = 2000 ")
    assert propagate.propagate("1", root=root) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("1 file changed in step01_echo since the last commit.\n")
    fixed = (root / ONE / "chat" / "protocol.py").read_bytes()
    for label in LABELS[1:]:
        assert lines_of(shown, label) == ["copied chat/protocol.py"]
        assert (root / label / "chat" / "protocol.py").read_bytes() == fixed
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert shown.endswith("describes the steps as they are now.\n")


def test_a_line_beside_later_changes_is_merged(root, capsys):
    """Each later step keeps what it changed in the same file, and nothing else changes."""
    before = {label: (root / label / CONSUMERS).read_text("utf-8") for label in LABELS}
    edit(root / TWO / CONSUMERS, "await self.accept()\n", "await self.accept()  # at last\n")
    assert propagate.propagate("2", root=root) == 0
    shown = capsys.readouterr().out
    for label in LABELS[2:]:
        assert lines_of(shown, label) == ["merged chat/consumers.py"]
        text = (root / label / CONSUMERS).read_text("utf-8")
        assert text.replace("  # at last", "") == before[label] != text
    assert (root / ONE / CONSUMERS).read_text("utf-8") == before[ONE]


def test_again_changes_nothing(root, capsys):
    """What was carried already is seen to be there, also in a file with another name."""
    (root / TWO / CONSUMERS).rename(root / TWO / "chat" / "talk.py")
    edit(root / TWO / "chat" / "talk.py", "self.accept()\n", "self.accept()  # at last\n")
    (root / TWO / "chat" / "rooms.py").rename(root / TWO / "chat" / "places.py")
    (root / TWO / "pytest.ini").unlink()
    (root / TWO / "chat" / "new.py").write_text("new = 1\n", "utf-8")
    propagate.propagate("2", root=root)
    before = state(root)
    capsys.readouterr()
    assert propagate.propagate("2", root=root) == 0
    shown = capsys.readouterr().out
    assert state(root) == before
    for label in LABELS[2:]:
        assert {line.split()[0] for line in lines_of(shown, label)} == {"same"}


def test_a_line_is_changed_again_before_the_commit(root, capsys):
    """And at last put back as it was: what was carried is the ground of what is carried next."""
    before = {label: (root / label / CONSUMERS).read_bytes() for label in LABELS}
    texts = ["self.accept()\n", "self.accept()  # one\n", "self.accept()  # two\n"]
    for old, new in zip(texts, [*texts[1:], texts[0]], strict=True):
        edit(root / TWO / CONSUMERS, old, new)
        assert propagate.propagate("2", root=root) == 0
        shown = capsys.readouterr().out
        for label in LABELS[2:]:
            assert lines_of(shown, label) == ["merged chat/consumers.py"]
            assert (root / label / CONSUMERS).read_text("utf-8").count(new) == 1
    assert shown.splitlines()[1] == "What was carried before is taken back."
    assert {label: (root / label / CONSUMERS).read_bytes() for label in LABELS} == before
    assert propagate.propagate("2", root=root) == 0
    assert capsys.readouterr().out == f"Nothing changed in {TWO} since the last commit.\n"


def test_a_new_file_is_changed_again_before_the_commit(root, capsys):
    """Or renamed, or deleted: each time, the later steps follow."""
    folder = root / TWO / "chat"
    (folder / "new.py").write_text("".join(f"new_{n} = {n}\n" for n in range(9)), "utf-8")
    steps = [
        lambda: None,
        lambda: edit(folder / "new.py", "new_4 = 4", "new_4 = 5"),
        lambda: (folder / "new.py").rename(folder / "newer.py"),
        lambda: (folder / "newer.py").unlink(),
    ]
    words = []
    for step in steps:
        step()
        assert propagate.propagate("2", root=root) == 0
        words.append(lines_of(capsys.readouterr().out, FOUR))
        for label in LABELS[2:]:
            assert [
                (file.name, file.read_text("utf-8"))
                for file in (root / label / "chat").glob("new*")
            ] == [(file.name, file.read_text("utf-8")) for file in folder.glob("new*")]
    assert words == [
        ["added chat/new.py"],
        ["copied chat/new.py"],
        ["renamed chat/{new.py → newer.py}"],
        ["deleted chat/newer.py"],
    ]


def test_what_was_carried_is_forgotten_when_a_later_file_or_the_commit_changes(root, capsys):
    """Then it is not known what the file holds, so the last commit is the ground again."""
    edit(root / TWO / CONSUMERS, "self.accept()\n", "self.accept()  # one\n")
    propagate.propagate("2", root=root)
    git(root, "checkout", "-q", "--", THREE)
    edit(root / TWO / CONSUMERS, "# one\n", "# two\n")
    edit(root / FOUR / CONSUMERS, "# one\n", "# four\n")
    capsys.readouterr()
    assert propagate.propagate("2", root=root) == 1
    shown = capsys.readouterr().out
    assert lines_of(shown, THREE) == ["merged chat/consumers.py"]
    assert lines_of(shown, FOUR)[0].startswith("conflict chat/consumers.py: line ")
    edit(root / FOUR / CONSUMERS, "# four\n", "# two\n")
    commit(root)
    edit(root / TWO / CONSUMERS, "# two\n", "# three\n")
    assert propagate.propagate("2", root=root) == 0
    for label in LABELS[2:]:
        assert "self.accept()  # three\n" in (root / label / CONSUMERS).read_text("utf-8")


def test_a_conflict_leaves_its_step_and_those_after_as_they_are(root, capsys):
    """Exit code 1, the lines on both sides; the file beside it is not carried either."""
    css = "chat/static/chat/chat.css"
    edit(root / THREE / css, "body {", "body { /* 3 */")
    before = state(root)[0]
    edit(root / ONE / css, "body {", "body { /* 1 */")
    edit(root / ONE / "pytest.ini", "[pytest]", "[pytest]\n# fixed")
    assert propagate.propagate(ONE, root=root) == 1
    shown = capsys.readouterr()
    lines = (root / THREE / css).read_text("utf-8").splitlines()
    number = next(n for n, line in enumerate(lines, 1) if "/* 3 */" in line)
    assert lines_of(shown.out, THREE) == [
        f"conflict {css}: line {number}",
        f"where {ONE} has changed line {number}",
    ]
    assert f"Carried into: {TWO}. Left as they were: {THREE}, {FOUR}." in shown.out
    assert f"\n{FOUR}\n" not in shown.out
    assert shown.err == f"Stopped at a conflict in {THREE}.\n"
    changed = {path for path, content in state(root)[0].items() if before[path] != content}
    assert {path.relative_to(root).parts[0] for path in changed} == {ONE, TWO}


def test_what_was_solved_by_hand_goes_on_from_there(root, capsys):
    """The command shown after a conflict finishes the work."""
    old, new = 'logger.info("connect %s", ', 'logger.info("joined %s", '
    edit(root / TWO / CONSUMERS, old, new)
    assert propagate.propagate("2", root=root) == 1
    shown = capsys.readouterr().out
    solved = f"{THREE}/{CONSUMERS}"
    assert shown.endswith(f"  make propagate FROM={TWO} BY_HAND={solved}\n")
    edit(root / THREE / CONSUMERS, old, new)
    by_hand = (root / THREE / CONSUMERS).read_bytes()
    assert propagate.propagate("2", [solved.replace("/", os.sep)], root=root) == 0
    shown = capsys.readouterr().out
    assert lines_of(shown, THREE) == ["kept chat/consumers.py (done by hand)"]
    assert (root / THREE / CONSUMERS).read_bytes() == by_hand
    assert lines_of(shown, FOUR) == ["merged chat/consumers.py"]
    assert new in (root / FOUR / CONSUMERS).read_text("utf-8")
    # Once more, as a shell remembers it: nothing new. Another line is no conflict for the first.
    assert propagate.propagate("2", [solved], root=root) == 0
    assert lines_of(capsys.readouterr().out, FOUR) == ["same chat/consumers.py"]
    edit(root / TWO / CONSUMERS, "self.accept()\n", "self.accept()  # at last\n")
    assert propagate.propagate("2", root=root) == 0
    for label in LABELS[1:]:
        text = (root / label / CONSUMERS).read_text("utf-8")
        assert new in text
        assert "self.accept()  # at last\n" in text


def test_the_command_after_a_conflict_can_be_typed_as_it_is_shown(root, capsys):
    """Several files in quotes; make cannot take a name with a blank, so that goes without it."""
    for name in ("one.py", "two.py"):
        for number, label in enumerate(LABELS):
            (root / label / "chat" / name).write_text(f"{name} = {number}\n", "utf-8")
    commit(root)
    for name in ("one.py", "two.py"):
        (root / ONE / "chat" / name).write_text("changed\n", "utf-8")
    propagate.propagate("1", root=root)
    files = [f"{TWO}/chat/one.py", f"{TWO}/chat/two.py"]
    shown = capsys.readouterr().out
    assert shown.endswith(f'  make propagate FROM={ONE} BY_HAND="{" ".join(files)}"\n')
    for label in (ONE, TWO):
        (root / label / "chat" / "my file.py").write_text(f"{label}\n", "utf-8")
    propagate.propagate("1", files, root=root)
    shown = capsys.readouterr().out
    options = [f"--by-hand {file}" for file in files] + [f"--by-hand '{TWO}/chat/my file.py'"]
    assert shown.endswith(f"  python -m course propagate {ONE} {' '.join(options)}\n")


@pytest.mark.parametrize("name", ["chat/consumers.py", f"{THREE}/chat/urls.py", "", f"{ONE}/x"])
def test_a_file_done_by_hand_must_be_one_in_question(root, name):
    """A slip of the keyboard is no permission to skip a file."""
    edit(root / TWO / CONSUMERS, "await self.accept()\n", "await self.accept()  # at last\n")
    before = state(root)
    with pytest.raises(UserError, match="BY_HAND names a file of a later step"):
        propagate.propagate("2", [name], root=root)
    assert state(root) == before


def test_a_file_that_a_later_step_removed_is_skipped(root, capsys):
    """Step 1's page has no heir from step 2 on; the output names who removed it."""
    edit(root / ONE / "chat" / "templates" / "chat" / "echo.html", "</h1>", "!</h1>")
    before = state(root)
    assert propagate.propagate("1", root=root) == 0
    assert state(root) == before
    shown = capsys.readouterr().out
    for label in LABELS[1:]:
        assert lines_of(shown, label) == [
            f"skipped chat/templates/chat/echo.html ({TWO} removes it)"
        ]


def test_a_file_missing_for_no_reason_is_a_conflict(root, capsys):
    """Nothing is lost in silence: the manifest knows of no step that removes it."""
    (root / THREE / "chat" / "apps.py").unlink()
    edit(root / ONE / "chat" / "apps.py", "class Chat", "\n\nclass Chat")
    assert propagate.propagate("1", root=root) == 1
    assert lines_of(capsys.readouterr().out, THREE) == [
        "conflict chat/apps.py: is missing, and course/steps.toml names no step that removes it"
    ]


def test_a_binary_file_is_copied_but_never_merged(root, capsys):
    """Where a later step has another picture, that is a conflict."""
    picture = "chat/static/chat/a.png"
    (root / ONE / picture).write_bytes(PICTURE + b"\xff\0")
    assert propagate.propagate("1", root=root) == 0
    assert all((root / label / picture).read_bytes() == PICTURE + b"\xff\0" for label in LABELS)
    (root / FOUR / picture).write_bytes(PICTURE + b"4")
    assert propagate.propagate("1", root=root) == 1
    shown = capsys.readouterr().out
    assert f"conflict  {picture}: is no text and differs there" in shown
    assert (root / FOUR / picture).read_bytes() == PICTURE + b"4"


def test_a_new_file_is_added_and_an_ignored_one_is_not(root, capsys):
    """With its executable bit; the manifest has to learn of it, which is said."""
    (root / TWO / "chat" / "tools").mkdir()
    new = root / TWO / "chat" / "tools" / "日本 語.py"
    new.write_text("print()\n", "utf-8")
    new.chmod(0o755)
    (root / TWO / "db.sqlite3").write_text("data\n", "utf-8")
    assert propagate.propagate("2", root=root) == 0
    shown = capsys.readouterr().out
    for label in LABELS[2:]:
        copy = root / label / "chat" / "tools" / "日本 語.py"
        assert copy.read_bytes() == new.read_bytes()
        assert copy.stat().st_mode & 0o777 == new.stat().st_mode & 0o777
        assert not (root / label / "db.sqlite3").exists()
        assert lines_of(shown, label) == ["added chat/tools/日本 語.py"]
    told = " ".join(shown.split())
    assert f"{TWO}/chat/tools/日本 語.py is not in {ONE} and not declared" in told
    assert "a new file stands in the adds of the step that brings it" in told


@pytest.mark.parametrize("ignored", [False, True])
def test_a_new_file_never_replaces_another(root, capsys, ignored):
    """Not even one that git does not know."""
    (root / TWO / "chat" / "new.py").write_text("two = 2\n", "utf-8")
    (root / FOUR / "chat" / "new.py").write_text("four = 4\n", "utf-8")
    if ignored:
        (root / FOUR / ".gitignore").write_text("new.py\n", "utf-8")
    assert propagate.propagate("2", root=root) == 1
    assert (root / THREE / "chat" / "new.py").exists()
    assert (root / FOUR / "chat" / "new.py").read_text("utf-8") == "four = 4\n"
    assert lines_of(capsys.readouterr().out, FOUR)[0].startswith("conflict chat/new.py: ")


def test_a_deleted_file_is_deleted_where_it_was_the_same(root, capsys):
    """With the folder it leaves empty; a copy that differs is a conflict."""
    for label in LABELS:
        (root / label / "chat" / "old").mkdir()
        (root / label / "chat" / "old" / "old.py").write_text("old = 1\n", "utf-8")
    (root / FOUR / "chat" / "old" / "old.py").write_text("old = 4\n", "utf-8")
    commit(root)
    shutil.rmtree(root / ONE / "chat" / "old")
    assert propagate.propagate("1", root=root) == 1
    shown = capsys.readouterr().out
    assert lines_of(shown, TWO) == ["deleted chat/old/old.py"]
    assert lines_of(shown, FOUR) == ["conflict chat/old/old.py: was deleted, but differs there"]
    assert [(root / label / "chat" / "old").exists() for label in LABELS] == [False] * 3 + [True]


@pytest.mark.parametrize("staged", [False, True])
def test_a_renamed_file_is_renamed_with_what_later_steps_made_of_it(root, capsys, staged):
    """Also where git was not told of it, and changed on the way."""
    old, new = root / TWO / CONSUMERS, root / TWO / "chat" / "talk.py"
    before = {label: (root / label / CONSUMERS).read_text("utf-8") for label in LABELS}
    if staged:
        git(root, "mv", old, new)
    else:
        old.rename(new)
    edit(new, "await self.accept()\n", "await self.accept()  # at last\n")
    assert propagate.propagate("2", root=root) == 0
    shown = capsys.readouterr().out
    for label in LABELS[2:]:
        assert lines_of(shown, label) == ["renamed chat/{consumers.py → talk.py}, merged"]
        assert not (root / label / CONSUMERS).exists()
        text = (root / label / "chat" / "talk.py").read_text("utf-8")
        assert text.replace("  # at last", "") == before[label] != text


def test_the_executable_bit_is_carried_beside_other_content(root, capsys):
    """Each later step keeps its own text."""
    before = {label: (root / label / CONSUMERS).read_bytes() for label in LABELS}
    (root / TWO / CONSUMERS).chmod(0o755)
    (root / TWO / "manage.py").chmod(0o644)
    assert propagate.propagate("2", root=root) == 0
    shown = capsys.readouterr().out
    for label in LABELS[2:]:
        assert "merged chat/consumers.py (now executable)" in lines_of(shown, label)
        assert "copied manage.py (no longer executable)" in lines_of(shown, label)
        assert os.access(root / label / CONSUMERS, os.X_OK)
        assert (root / label / "manage.py").stat().st_mode & 0o111 == 0
        assert (root / label / CONSUMERS).read_bytes() == before[label]


def test_a_readme_is_left_out(root, capsys):
    """Each step has its own, and that is said."""
    (root / ONE / "README.md").write_text("new\n", "utf-8")
    before = state(root)
    assert propagate.propagate("1", root=root) == 0
    assert state(root) == before
    assert capsys.readouterr().out == (
        "Nothing changed in step01_echo since the last commit.\n"
        "Its README.md is left out: that of each step is its own.\n"
    )


def test_a_dry_run_shows_the_same_and_changes_nothing(root, capsys):
    """Not even an object in the repository."""
    edit(root / TWO / CONSUMERS, "await self.accept()\n", "await self.accept()  # at last\n")
    (root / TWO / "chat" / "new.py").write_text("new = 1\n", "utf-8")
    (root / TWO / "pytest.ini").unlink()
    before = state(root), sorted(root.rglob("*"))
    assert propagate.propagate("2", dry_run=True, root=root) == 0
    assert (state(root), sorted(root.rglob("*"))) == before
    dry = capsys.readouterr().out
    assert dry.endswith("\n\nNothing was written: this was a dry run.\n")
    propagate.propagate("2", root=root)
    wet = capsys.readouterr().out
    assert dry.partition("\nNothing")[0] == wet.partition("\nDone")[0]


def test_the_readers_index_is_left_alone(root):
    """What is staged stays staged, the rest stays unstaged, also in a file that is written."""
    edit(root / ONE / "chat" / "protocol.py", "MAX_LENGTH = 1000 ", "MAX_LENGTH = 2000 ")
    git(root, "add", f"{ONE}/chat/protocol.py")
    edit(root / ONE / "chat" / "protocol.py", "MAX_LENGTH = 2000 ", "MAX_LENGTH = 3000 ")
    (root / "notes.txt").write_text("mine\n", "utf-8")
    git(root, "add", "notes.txt")
    index = (root / ".git" / "index").read_bytes()
    assert propagate.propagate("1", root=root) == 0
    assert (root / ".git" / "index").read_bytes() == index
    assert "MAX_LENGTH = 3000 " in (root / TWO / "chat" / "protocol.py").read_text("utf-8")


def test_a_failing_write_undoes_the_step(root, monkeypatch):
    """A disk that fails halfway leaves the step as it was, and no litter."""
    edit(root / THREE / CONSUMERS, "await self.accept()\n", "await self.accept()  # at last\n")
    (root / THREE / "chat" / "new.py").write_text("new = 1\n", "utf-8")
    (root / THREE / "pytest.ini").unlink()
    before, remove = state(root), propagate.Path.unlink

    def fail(path, *arguments, **options):
        if path.name == "pytest.ini":
            raise PermissionError(13, "Permission denied")
        return remove(path, *arguments, **options)

    monkeypatch.setattr(propagate.Path, "unlink", fail)
    with pytest.raises(UserError, match=f"{FOUR} was left as it was.*Permission denied"):
        propagate.propagate("3", root=root)
    assert state(root) == before
    assert list((root / ".course").iterdir()) == []


def test_files_that_git_has_in_conflict_are_refused(root):
    """What `git stash pop` leaves in a file is its markers; the sentence names the file."""
    file = root / ONE / "pytest.ini"
    edit(file, "[pytest]", "[pytest]\n# first")
    git(root, *NAMED, "stash")
    edit(file, "[pytest]", "[pytest]\n# second")
    commit(root)
    with pytest.raises(subprocess.CalledProcessError):
        git(root, *NAMED, "stash", "pop")
    assert "<<<<<<<" in file.read_text("utf-8")
    before = state(root)
    with pytest.raises(UserError, match=f"not finished merging.*: git add {ONE}/pytest.ini$"):
        propagate.propagate("1", root=root)
    assert state(root) == before


def test_the_last_step_has_no_later_one(root):
    """A sentence says so."""
    with pytest.raises(UserError, match=f"{FOUR} is the last step"):
        propagate.propagate("4", root=root)


def test_without_anything_to_compare_with_it_is_refused(tmp_path, monkeypatch):
    """No git, no repository, no commit, or a step that is in none: each has its sentence."""
    (tmp_path / "course").mkdir()
    text = "".join(
        f'[[step]]\nlabel = "{label}"\nconcept = "x"\n' for label in ("step01_a", "step02_b")
    )
    (tmp_path / "course" / "steps.toml").write_text(text, "utf-8")
    add_step(tmp_path, "step01_a")
    add_step(tmp_path, "step02_b")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UserError, match="is in no repository"):
        propagate.propagate("1", root=tmp_path)
    git(tmp_path, "init", "-q")
    with pytest.raises(UserError, match="there is none yet: commit the steps first"):
        propagate.propagate("1", root=tmp_path)
    (tmp_path / ".gitignore").write_text("step01_a\n", "utf-8")
    commit(tmp_path)
    with pytest.raises(UserError, match="step01_a was never committed"):
        propagate.propagate("1", root=tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="make propagate needs git"):
        propagate.propagate("1", root=tmp_path)


def test_places_are_line_numbers_of_the_text_as_it_is():
    """Also where the other side has moved lines, or one side has none."""
    mark = propagate.MARKER
    start, middle, end = b"<" * mark + b" ours", b"=" * mark, b">" * mark + b" theirs"
    marked = [b"new", b"a", start, b"b", b"c", middle, b"B", end, b"d", start, middle, b"e", end]
    assert places(marked, b"a\nb\nc\nd", 0) == ["2-3", "after 4"]
    assert places(marked, b"new\na\nB\nd\ne", 1) == ["3", "5"]
    assert propagate.lines(["2-3", "after 4"]) == "lines 2-3, after 4"
    assert propagate.lines(["3"]) == "line 3"
    assert propagate.lines(["after 4"]) == "after line 4"
