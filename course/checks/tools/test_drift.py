"""`make drift`: each way in which steps and manifest can disagree is found and named."""

import shutil
from itertools import pairwise

import pytest

from course.checks.tools.conftest import INTERIM, MANIFEST, PAGE, plant_parts, run_course
from course.core.manifest import INTERIM as INTERIM_FOLDER
from course.core.manifest import difference, load, read_step
from course.core.steps import ROOT, all_steps, copy_files, step_files
from course.core.terminal import UserError
from course.maintain import drift

PLACE = "course/interim/step03_crowd"


@pytest.fixture
def root(tmp_path):
    """A small course with a correct manifest."""
    return plant_parts(tmp_path)


@pytest.fixture
def real(tmp_path):
    """A copy of the real steps and their manifest."""
    (tmp_path / "course").mkdir()
    shutil.copy(ROOT / "course" / "steps.toml", tmp_path / "course")
    if (ROOT / INTERIM_FOLDER).is_dir():
        shutil.copytree(ROOT / INTERIM_FOLDER, tmp_path / INTERIM_FOLDER)
    for step in all_steps():
        copy_files(step_files(step.folder), step.folder, tmp_path / step.label)
    return tmp_path


def declare(root, before, after):
    """Replace a text in the manifest, once."""
    file = root / "course" / "steps.toml"
    text = file.read_text("utf-8")
    assert text.count(before) == 1
    file.write_text(text.replace(before, after), "utf-8")


def write(root, file, content):
    """Write a file of the course; delete the file if `content` is None."""
    if content is None:
        (root / file).unlink()
    else:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(content.encode())


def test_a_truthful_manifest_raises_no_complaint(root):
    """The small course, which the tests below spoil, has no problem."""
    assert drift.problems(root) == []


UNNAMED = (
    "but in no part: make it as it is in step01_echo, or name it in a [[step.part]] of "
    "step02_groups in course/steps.toml."
)
UNCHANGED = "but does not change this file: step01_echo has the same file, or neither has the file."


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("chat/apps.py", "one\ntwo \n", f"step02_groups/chat/apps.py is changed, {UNNAMED}"),
        ("chat/apps.py", "one\r\ntwo\r\n", f"step02_groups/chat/apps.py is changed, {UNNAMED}"),
        ("chat/icon.svg", "<svg/>\0", f"step02_groups/chat/icon.svg is changed, {UNNAMED}"),
        ("chat/new.py", "", f"step02_groups/chat/new.py is new, {UNNAMED}"),
        ("chat/apps.py", None, f"step02_groups/chat/apps.py is gone, {UNNAMED}"),
        (
            "chat/views.py",
            "def index(): ...\n",
            f"course/steps.toml: step02_groups-part01 names chat/views.py, {UNCHANGED}",
        ),
        (
            "chat/rooms.py",
            None,
            f"course/steps.toml: step02_groups-part01 names chat/rooms.py, {UNCHANGED}",
        ),
        (
            "chat/echo.html",
            "<p>\n",
            f"course/steps.toml: step02_groups-part01 names chat/echo.html, {UNCHANGED}",
        ),
        ("tests/test_same.py", None, "step02_groups/tests/test_same.py is gone, but in no part"),
        (
            "tests/test_page.py",
            PAGE.replace("    def test_title(self): ...\n", "").replace("_page", "_site"),
            "tests/test_page.py::test_page is gone from step02_groups-part01: bring the test back, "
            "or give the reason under retires of step02_groups in course/steps.toml, as "
            '"tests/test_page.py::test_page".',
        ),
        (
            "tests/test_page.py",
            PAGE + "\n# changed\n",
            "retires tests/test_page.py::TestPage::test_title, which is still there, or never was.",
        ),
    ],
)
def test_a_change_of_the_later_step_is_seen(root, file, content, said):
    """A file that is written or deleted against the manifest gives a message."""
    write(root, f"step02_groups/{file}", content)
    found = drift.problems(root)
    assert any(said in sentence for sentence in found), found


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            '"chat/views.py", "chat/rooms.py"',
            '"chat/rooms.py"',
            "chat/views.py is changed, but in no part",
        ),
        ('"chat/rooms.py", ', "", "step02_groups/chat/rooms.py is new, but in no part"),
        ('"chat/echo.html", ', "", "step02_groups/chat/echo.html is gone, but in no part"),
        ('"chat/rooms.py", ', '"chat/rooms.py", "x", ', "names x, but does not change this file"),
        (
            '"chat/rooms.py", ',
            '"chat/rooms.py", "chat/apps.py", ',
            "step02_groups-part01 names chat/apps.py, but does not change this file",
        ),
        (
            '"chat/rooms.py", ',
            '"chat/rooms.py", "README.md", ',
            "course/steps.toml: step02_groups-part01 names README.md, which belongs to no part.",
        ),
        (
            '"tests/test_echo.py" =',
            "# ",
            "tests/test_echo.py is gone from step02_groups-part01: bring the test back, or give "
            "the reason under retires of step02_groups in course/steps.toml, as "
            '"tests/test_echo.py".',
        ),
        ("nothing echoes any more", " ", "retires tests/test_echo.py without a reason."),
        ("::TestPage::test_title", "::test_x", "::TestPage::test_title"),
        (
            '"a socket"',
            '"a socket"\n[[step.part]]\nname = "x"\nfiles = ["x"]',
            "step01_echo is the first step",
        ),
        (
            MANIFEST.rpartition('[[step]]\nlabel = "step03_crowd"')[2].partition("[[")[2],
            "",
            "course/steps.toml: step03_crowd has no part",
        ),
        (
            "[step.retires]",
            '[step.retires]\n"tests/test_same.py" = "w"',
            "retires tests/test_same.py, which is still there, or never was.",
        ),
        (
            "[step.retires]",
            '[step.retires]\n"chat/echo.html" = "w"',
            "retires chat/echo.html, which is still there, or never was.",
        ),
        (
            "[step.retires]",
            '[step.retires]\n"tests/test_page.py::test_x" = "w"',
            "retires tests/test_page.py::test_x, which is still there, or never was.",
        ),
    ],
)
def test_a_change_of_the_manifest_is_seen(root, before, after, said):
    """A superfluous or missing line of the manifest gives a message."""
    if before.endswith("]\n"):
        shutil.rmtree(root / "course" / "interim")
        before, after = f"[[{before}", after
    declare(root, before, after)
    found = drift.problems(root)
    assert any(said in sentence for sentence in found), found


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (
            f"{PLACE}/part02/chat/limits.py",
            "x\n",
            f"{PLACE}/part02/chat/limits.py is asked for by no part in course/steps.toml: delete "
            "it, or name it in a part.",
        ),
        (
            "course/interim/step09_x/part01/chat/views.py",
            "x\n",
            "course/interim/step09_x/part01/chat/views.py is asked for by no part",
        ),
        (
            f"{PLACE}/part02/chat/views.py",
            INTERIM["part01/chat/views.py"],
            "step03_crowd-part02 names chat/views.py, but does not change this file: "
            "step03_crowd-part01 has the same",
        ),
        (
            f"{PLACE}/part02/chat/views.py",
            "def room(): number, limit, crowd\n",
            "step03_crowd-part03 names chat/views.py, but does not change this file",
        ),
        (
            f"{PLACE}/part01/chat/views.py",
            "def room(): ...\n",
            "step03_crowd-part01 names chat/views.py, but does not change this file: "
            "step02_groups has the same",
        ),
        (
            f"{PLACE}/part01/tests/test_numbers.py",
            "def test_first(): ...\ndef test_lost(): ...\n",
            "tests/test_numbers.py::test_lost is gone from step03_crowd-part02: bring the test "
            "back",
        ),
    ],
)
def test_a_change_of_an_interim_file_is_seen(root, file, content, said):
    """A part must name each interim file, and each version must differ from its neighbours."""
    write(root, file, content)
    found = drift.problems(root)
    assert len(found) == 1, found
    assert said in found[0]


def test_a_test_of_a_mid_point_can_be_retired(root):
    """A test of an earlier part needs a reason, like a test of an earlier step."""
    write(root, f"{PLACE}/part01/tests/test_numbers.py", "def test_lost(): ...\n")
    reason = '[step.retires]\n"tests/test_numbers.py::test_lost" = "part 2 counts otherwise"\n'
    declare(root, 'concept = "a crowd"\n', f'concept = "a crowd"\n{reason}')
    assert drift.problems(root) == []


def test_a_whole_file_of_tests_may_come_and_go(root):
    """Within one step, a later part may remove a file of tests, with a reason."""
    write(root, f"{PLACE}/part01/tests/test_old.py", "def test_old(): ...\n")
    numbers = '"tests/test_numbers.py"]\n'
    declare(root, numbers, f'"tests/test_old.py", {numbers}')
    declare(root, '"tests/test_crowd.py"]', '"tests/test_crowd.py", "tests/test_old.py"]')
    (sentence,) = drift.problems(root)
    assert sentence.startswith("tests/test_old.py is gone from step03_crowd-part03: bring")
    reason = '[step.retires]\n"tests/test_old.py" = "it was for part 1"\n'
    declare(root, 'concept = "a crowd"\n', f'concept = "a crowd"\n{reason}')
    assert drift.problems(root) == []


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (
            f"{PLACE}/part01/chat/views.py",
            None,
            "is missing: course/steps.toml names chat/views.py in this part, and again in a later ",
        ),
        (f"{PLACE}/part01/tests/test_numbers.py", "def\n", "is no valid Python: "),
        ("step02_groups/tests/test_page.py", "def\n", "is no valid Python: "),
    ],
)
def test_a_file_without_which_nothing_can_be_compared(root, file, content, said):
    """One sentence names the file."""
    write(root, file, content)
    with pytest.raises(UserError, match=f"^{file} {said}"):
        drift.problems(root)


def test_the_executable_bit_counts(root):
    """A different executable bit alone is a change."""
    for step in ("step02_groups", "step03_crowd"):
        file = root / step / "chat" / "apps.py"
        file.chmod(0o755)
    if not file.stat().st_mode & 0o100:
        pytest.skip("this system has no executable bit")
    assert drift.problems(root) == [
        f"step02_groups/chat/apps.py is changed, {UNNAMED}",
    ]
    declare(root, '"chat/rooms.py", ', '"chat/rooms.py", "chat/apps.py", ')
    assert drift.drift(root) == 0


def test_one_byte_in_any_real_file_is_seen(real):
    """A blank at the end of any file that steps 1 and 2 share is reported."""
    before, after = (real / step.label for step in all_steps(real)[:2])
    named = {"README.md", *(path for part in load(real)[1].parts for path in part.files)}
    spoiled = [file.as_posix() for file in step_files(after) if file.as_posix() not in named]
    assert len(spoiled) > 10
    for file in spoiled:
        assert (before / file).read_bytes() == (after / file).read_bytes()
        with (after / file).open("ab") as opened:
            opened.write(b" ")
    found = [text for text in drift.problems(real) if text.endswith(UNNAMED)]
    assert [text.split()[0] for text in found] == [f"step02_groups/{file}" for file in spoiled]


def test_each_real_file_has_to_be_in_a_part(real):
    """If all parts are left out, each of their files gives a message."""
    entries = load(real)
    lines = [
        f"[[step]]\nlabel = {entry.label!r}\nconcept = {entry.concept!r}\n" for entry in entries
    ]
    (real / "course" / "steps.toml").write_text("".join(lines), "utf-8")
    shutil.rmtree(real / INTERIM_FOLDER, ignore_errors=True)
    found = [text for text in drift.problems(real) if ", but in no part: " in text]
    steps = all_steps(real)
    assert [text.split()[0] for text in found] == [
        f"{after.label}/{path}"
        for before, after in pairwise(steps)
        for path in difference(read_step(before), read_step(after))
        if path != "README.md"
    ]


def test_the_command_says_one_line():
    """`make drift` finds no problem in the real course."""
    shown = run_course("drift")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert len(shown.stdout.splitlines()) == 1
    assert len(shown.stdout) <= 81


def test_the_command_fails_with_the_sentences(root, capsys):
    """The exit code is 1, and the output has the messages, and how to see a difference."""
    write(root, "step02_groups/chat/apps.py", "one\n")
    assert drift.drift(root) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("step02_groups/chat/apps.py is changed")
    assert shown.err == (
        "The steps and course/steps.toml disagree: see above. `git diff --no-index` shows how two "
        "files differ.\n"
    )
