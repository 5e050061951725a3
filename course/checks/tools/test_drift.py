"""`make drift`: each way in which steps and manifest can disagree is found and named."""

import shutil

import pytest

from course.checks.tools.conftest import INTERIM, MANIFEST, PAGE, plant_parts, run_course
from course.core.manifest import INTERIM as INTERIM_FOLDER
from course.core.steps import ROOT, all_steps, copy_files, step_files
from course.maintain import drift

PLACE = "course/interim/step03_crowd"


@pytest.fixture
def root(tmp_path):
    """A small course with a correct manifest."""
    plant_parts(tmp_path)
    drift.accept(tmp_path)
    return tmp_path


@pytest.fixture
def real(tmp_path):
    """A copy of the real steps and their manifest."""
    (tmp_path / "course").mkdir()
    for name in ("steps.toml", "files.toml"):
        shutil.copy(ROOT / "course" / name, tmp_path / "course")
    if (ROOT / INTERIM_FOLDER).is_dir():
        shutil.copytree(ROOT / INTERIM_FOLDER, tmp_path / INTERIM_FOLDER)
    for step in all_steps():
        copy_files(step_files(step.folder), step.folder, tmp_path / step.label)
    return tmp_path


def declare(root, before, after, name="steps.toml"):
    """Replace a text in the manifest, once."""
    file = root / "course" / name
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


SAID = "but course/files.toml says that it is the same as in the step before."
UNNAMED = (
    "but in no part: make it as it is in step01_echo, or name it in a [[step.part]] of "
    "step02_groups in course/steps.toml."
)
NO_TITLE = PAGE.replace("def test_title(): ...\n", "")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("chat/apps.py", "one\ntwo \n", f"is changed, {SAID}"),
        ("chat/apps.py", "one\r\ntwo\r\n", f"is changed, {SAID}"),
        ("chat/apps.py", "one\r\ntwo\r\n", "differs from step01_echo by nothing but whitespace: "),
        ("chat/icon.svg", "<svg/>\0", f"is changed, {SAID}"),
        ("chat/new.py", "", f"is new, {SAID}"),
        ("chat/apps.py", None, f"is gone, {SAID}"),
        ("chat/views.py", "def index(): ...\n", "but course/files.toml says that it is changed."),
        ("chat/rooms.py", None, "but course/files.toml says that it is new."),
        ("chat/echo.html", "<p>\n", "but course/files.toml says that it is gone."),
        ("chat/views.py", "\ndef index():\n    ...\n", "differs from step01_echo by nothing but"),
        ("chat/icon.svg", "<svg/>\0", f"is changed, {UNNAMED}"),
        ("chat/new.py", "", f"is new, {UNNAMED}"),
        ("tests/test_same.py", None, f"is gone, {UNNAMED}"),
        ("chat/echo.html", "<p>\n", "step01_echo has the same file, or neither has the file."),
        ("tests/test_page.py", NO_TITLE.replace("_page", "_site"), "::test_page is gone from step"),
        ("tests/test_page.py", f"{PAGE}\n", "::test_title, which is still there, or never was."),
        ("tests/test_page.py", "def\n", "is no valid Python: "),
    ],
)
def test_a_change_of_the_later_step_is_seen(root, file, content, said):
    """A file that is written or deleted against the manifest gives a message."""
    write(root, f"step02_groups/{file}", content)
    found = drift.problems(root)
    named = [sentence for sentence in found if "step02_groups" in sentence and file in sentence]
    assert any(said in sentence for sentence in named), found


RETIRES = "[step.retires]"


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
        ('"chat/rooms.py", ', '"chat/rooms.py", "chat/apps.py", ', "names chat/apps.py, but does"),
        (
            '"chat/rooms.py", ',
            '"chat/rooms.py", "README.md", ',
            "course/steps.toml: step02_groups-part01 names README.md, which belongs to no part.",
        ),
        ('"tests/test_echo.py" =', "# ", "tests/test_echo.py is gone from step02_groups-part01: "),
        ("nothing echoes any more", " ", "retires tests/test_echo.py without a reason."),
        ('::test_title"', '::test_x"', "::test_title"),
        ("", '[[step.part]]\nname = "x"\nfiles = ["x"]', "step01_echo is the first step"),
        (RETIRES, f'{RETIRES}\n"tests/test_same.py" = "w"', "test_same.py, which is still there, "),
        (
            RETIRES,
            f'{RETIRES}\n"chat/echo.html" = "w"',
            "echo.html, which is still there, or never was.",
        ),
        (
            RETIRES,
            f'{RETIRES}\n"tests/test_page.py::test_x" = "w"',
            "x, which is still there, or never was.",
        ),
    ],
)
def test_a_change_of_the_manifest_is_seen(root, before, after, said):
    """A superfluous or missing line of the manifest gives a message."""
    declare(root, before or '"a socket"\n', after if before else f'"a socket"\n{after}\n')
    found = drift.problems(root)
    assert any(said in sentence for sentence in found), found


def test_a_step_without_parts_is_seen(root):
    """Each step after the first needs a part."""
    shutil.rmtree(root / "course" / "interim")
    start, label, _ = MANIFEST.rpartition('label = "step03_crowd"\nconcept = "a crowd"\n')
    (root / "course" / "steps.toml").write_text(start + label, "utf-8")
    assert "course/steps.toml: step03_crowd has no part: " in "\n".join(drift.problems(root))


NUMBERS = "part01/tests/test_numbers.py"


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (
            "part01/chat/views.py",
            None,
            f"{PLACE}/part01/chat/views.py is missing: course/steps.toml names chat/views.py "
            "in this part, and again in a later part.",
        ),
        (
            "part02/chat/limits.py",
            "x\n",
            f"{PLACE}/part02/chat/limits.py is asked for by no part in course/steps.toml: delete "
            "it, or name it in a part.",
        ),
        ("../step09_x/part01/a.py", "x\n", "step09_x/part01/a.py is asked for by no part"),
        (
            "part02/chat/views.py",
            INTERIM["part01/chat/views.py"],
            "step03_crowd-part01 has the same",
        ),
        ("part02/chat/views.py", "def room(): number, limit, crowd\n", "step03_crowd-part03 names"),
        ("part01/chat/views.py", "def room(): ...\n", "step02_groups has the same"),
        (
            NUMBERS,
            "def test_first(): ...\ndef test_lost(): ...\n",
            "test_lost is gone from step03_",
        ),
        (NUMBERS, "def\n", f"{PLACE}/{NUMBERS} is no valid Python: "),
    ],
)
def test_a_change_of_an_interim_file_is_seen(root, file, content, said):
    """A part must name each interim file, and each version must differ from its neighbours."""
    write(root, f"{PLACE}/{file}", content)
    (sentence,) = drift.problems(root)
    assert said in sentence


def test_tests_of_a_mid_point_may_come_and_go(root):
    """Within one step, a later part may remove a test or a file of tests, with a reason."""
    write(root, f"{PLACE}/{NUMBERS}", "def test_lost(): ...\n")
    write(root, f"{PLACE}/part01/tests/test_old.py", "def test_old(): ...\n")
    numbers = '"tests/test_numbers.py"]\n'
    declare(root, numbers, f'"tests/test_old.py", {numbers}')
    declare(root, '"tests/test_crowd.py"]', '"tests/test_crowd.py", "tests/test_old.py"]')
    lost, old = drift.problems(root)
    assert lost.startswith("tests/test_numbers.py::test_lost is gone from step03_crowd-part02: ")
    assert old.startswith("tests/test_old.py is gone from step03_crowd-part03: bring")
    reason = '[step.retires]\n"tests/test_old.py" = "it was for part 1"\n'
    reason += '"tests/test_numbers.py::test_lost" = "part 2 counts otherwise"\n'
    declare(root, 'concept = "a crowd"\n', f'concept = "a crowd"\n{reason}')
    assert drift.problems(root) == []


def test_no_file_hides_the_complaints_about_others(root):
    """Two missing interim files are named, the first file that is no Python, and a new file."""
    missing = [f"{PLACE}/part01/chat/{name}.py" for name in ("views", "counter")]
    broken = [f"step01_echo/tests/test_{name}.py" for name in ("page", "same")]
    for file in missing:
        write(root, file, None)
    for file in broken:
        write(root, file, "def\n")
    write(root, "step02_groups/chat/new.py", "")
    found = drift.problems(root)
    assert [text.split()[0] for text in found if "is missing: " in text] == missing
    assert [text.split()[0] for text in found if "is no valid Python: " in text] == broken[:1]
    assert f"step02_groups/chat/new.py is new, {UNNAMED}" in found


def test_a_change_of_the_list_is_seen(root):
    """A wrong, missing or superfluous line of files.toml gives a message."""
    declare(root, 'rooms.py" = "adds"', 'rooms.py" = "changes"', "files.toml")
    declare(root, '"step02_groups/tests/test_page.py"', '"step04_x/a"', "files.toml")
    said = "but course/files.toml says that it"
    assert drift.problems(root) == [
        f"step02_groups/chat/rooms.py is new, {said} is changed.",
        f"step02_groups/tests/test_page.py is changed, {SAID}",
        f"step04_x/a is the same as in the step before, {said} is changed.",
    ]


def test_the_folders_are_accepted_as_they_are(root, capsys):
    """The command writes the lists anew, and still reports each file that no part names."""
    write(root, "step02_groups/chat/new.py", "")
    (root / "course" / "files.toml").write_text("<<<<<<< HEAD\n", "utf-8")
    assert drift.drift(root=root) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("course/files.toml cannot be read: ")
    assert "make drift ACCEPT=1 writes course/files.toml" in shown.err
    assert drift.drift(accepted=True, root=root) == 1
    shown = capsys.readouterr()
    steps = [line.partition("/chat/new.py is ")[0] for line in shown.out.splitlines()]
    assert steps == ["step02_groups", "step03_crowd"]
    assert "ACCEPT" not in shown.err
    write(root, "step02_groups/chat/new.py", None)
    assert drift.drift(accepted=True, root=root) == 0
    written = (root / "course" / "files.toml").read_text("utf-8")
    assert written.endswith('\n"step03_crowd/tests/test_numbers.py" = "adds"\n')


def test_the_executable_bit_counts(root):
    """A different executable bit alone is a change."""
    for step in ("step02_groups", "step03_crowd"):
        file = root / step / "chat" / "apps.py"
        file.chmod(0o755)
    if not file.stat().st_mode & 0o100:
        pytest.skip("this system has no executable bit")
    assert drift.problems(root) == [
        f"step02_groups/chat/apps.py is changed, {SAID}",
        f"step02_groups/chat/apps.py is changed, {UNNAMED}",
    ]
    declare(root, '"chat/rooms.py", ', '"chat/rooms.py", "chat/apps.py", ')
    assert drift.drift(accepted=True, root=root) == 0


def test_one_byte_in_any_real_file_is_seen(real):
    """A blank at the end of any file that steps 1 and 2 share is reported."""
    before, after = (real / step.label for step in all_steps(real)[:2])
    changed = drift.compare_steps(real)
    spoiled = [
        file.as_posix()
        for file in step_files(after)
        if (before / file).exists() and f"{after.name}/{file.as_posix()}" not in changed
    ]
    assert len(spoiled) > 10
    for file in spoiled:
        with (after / file).open("ab") as opened:
            opened.write(b" ")
    found = [text for text in drift.problems(real) if text.endswith(f" is changed, {UNNAMED}")]
    assert [text.split()[0] for text in found] == [f"step02_groups/{file}" for file in spoiled]


def test_the_command_says_one_line():
    """`make drift` finds no problem in the real course."""
    shown = run_course("drift")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert len(shown.stdout.splitlines()) == 1
    assert len(shown.stdout) <= 81


def test_the_command_fails_with_the_sentences(root, capsys):
    """The exit code is 1, and the output has the messages."""
    write(root, f"{PLACE}/part02/chat/views.py", None)
    assert drift.drift(root=root) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith(f"{PLACE}/part02/chat/views.py is missing")
    assert shown.err == "The steps and course/steps.toml disagree: see above.\n"
