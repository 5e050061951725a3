"""`make guarantees`: the page repeats the docstrings of tests, and is never stale."""

from pathlib import Path

import pytest

from course.checks.tools.conftest import add_step, plant_parts, run_course
from course.maintain.guarantees import PAGE, guarantees, in_words

MANIFEST = """
[[step]]
label = "step01_echo"
concept = "an echo"

[[step]]
label = "step02_groups"
concept = "groups"
[step.retires]
"tests/test_echo.py" = "everybody hears"
"tests/test_page.py::test_one" = "there are two pages."
[[step.part]]
name = "rooms"
files = ["tests/test_groups.py", "tests/test_page.py", "tests/test_echo.py"]
"""
ECHO = '"""An echo."""\n\ndef test_the_answer():\n    """It comes back."""\n'
GROUPS = '''\
"""Who hears what?"""

class TestRoom:
    async def test_the_orm_and_a_pipe(self):
        """Code like ``a | b``.

        More about it.
        """

class Strangers(test.SimpleTestCase):
    def test_the_orm_and_a_pipe(self):
        """Nothing of it."""

class Helper:
    def test_nothing(self):
        pass
'''
PAGE_1 = '''\
"""The page."""

def helper():
    pass

def test_one():
    """One page."""

def test_title():
    """It has a title."""
'''
PAGE_2 = PAGE_1.replace('def test_one():\n    """One page."""\n', "").replace("a title", "two")
EXPECTED = """\
## Since step 1: an echo

### An echo

[tests/test_echo.py](../step01_echo/tests/test_echo.py)

Step 2 gives up all of this: everybody hears.

| Guarantee | 1 | 2 |
|---|:-:|:-:|
| **The answer.** It comes back. | ✓ | – |

### The page

[tests/test_page.py](../step01_echo/tests/test_page.py)

Step 2 gives up “One”: there are two pages.

| Guarantee | 1 | 2 |
|---|:-:|:-:|
| **One.** One page. | ✓ | – |
| **Title.** It has two. | ✓ | ✓ |

## Since step 2: groups

### Who hears what?

[tests/test_groups.py](../step02_groups/tests/test_groups.py)

| Guarantee | 1 | 2 |
|---|:-:|:-:|
| **The ORM and a pipe.** Code like `a \\| b`. |   | ✓ |
| **The ORM and a pipe.** Nothing of it. |   | ✓ |
"""


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A course of two steps; the second adds, rewords and retires tests."""
    add_step(tmp_path, "step01_echo", {"tests/test_echo.py": ECHO, "tests/test_page.py": PAGE_1})
    second = {"tests/test_groups.py": GROUPS, "tests/test_page.py": PAGE_2}
    add_step(tmp_path, "step02_groups", second)
    (tmp_path / "course").mkdir()
    (tmp_path / "course" / "steps.toml").write_text(MANIFEST)
    return tmp_path


def test_the_page_of_this_course_is_not_stale() -> None:
    """If this test fails after a change of a test or a docstring, run `make guarantees`."""
    checked = run_course("guarantees", "--check")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_what_the_page_says(course: Path) -> None:
    """The page names the steps that have a guarantee, and the reason if a step gives it up."""
    assert guarantees(root=course) == 0
    text = (course / PAGE).read_text("utf-8")
    assert text.startswith("<!-- Made by `make guarantees`")
    assert text.endswith(f"\n\n{EXPECTED}")


def test_what_comes_with_a_part_is_told_so(tmp_path: Path) -> None:
    """A step with one part has one heading. A test that only a mid-point has is left out."""
    root = plant_parts(tmp_path)
    interim = root / "course" / "interim" / "step03_crowd" / "part01" / "tests"
    for file in [*root.glob("step*/tests/*.py"), interim / "test_numbers.py"]:
        text = file.read_text().replace("...", '"""A sentence."""')
        file.write_text(f'"""About {file.stem}."""\n{text}')
    (interim / "test_old.py").write_text("def test_old(): ...\n")
    manifest = root / "course" / "steps.toml"
    text = manifest.read_text().replace(
        '"tests/test_numbers.py"]\n[', '"tests/test_numbers.py", "tests/test_old.py"]\n['
    )
    text = text.replace('"tests/test_crowd.py"]', '"tests/test_crowd.py", "tests/test_old.py"]')
    reason = '[step.retires]\n"tests/test_old.py" = "old"\n'
    manifest.write_text(text.replace('concept = "a crowd"\n', f'concept = "a crowd"\n{reason}'))
    assert guarantees(root=root) == 0
    text = (root / PAGE).read_text("utf-8")
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Since step 1: a socket",
        "## Since step 3, part 1: numbers",
        "## Since step 3, part 2: limits",
        "## Since step 3, part 3: a crowd",
    ]
    since = text.partition("part 1: numbers")[2].partition("## Since")[0]
    assert "[tests/test_numbers.py](../step03_crowd/tests/test_numbers.py)" in since
    assert "| **Next.** A sentence. |   |   | ✓ |" in since
    assert "test_old" not in text


def test_a_stale_page_is_told_and_left_alone(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--check`, a stale or missing page is reported, and nothing is written."""
    assert guarantees(check=True, root=course) == 1
    stale = "docs/guarantees.md is out of date. Run: make guarantees\n"
    assert capsys.readouterr() == ("", stale)
    assert not (course / PAGE).exists()
    assert guarantees(root=course) == 0
    assert guarantees(check=True, root=course) == 0
    assert capsys.readouterr().out.splitlines() == [
        "docs/guarantees.md: written, 5 guarantees.",
        "docs/guarantees.md: up to date, 5 guarantees.",
    ]
    (course / PAGE).write_text("by hand")
    assert guarantees(check=True, root=course) == 1
    assert (course / PAGE).read_text() == "by hand"


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            "step02_groups/tests/test_page.py",
            '"""It has two."""',
            "pass",
            "step02_groups/tests/test_page.py::test_title has no docstring.",
        ),
        (
            "step02_groups/tests/test_groups.py",
            "Code like ``a | b``.",
            "Code like",
            "step02_groups/tests/test_groups.py::TestRoom::test_the_orm_and_a_pipe: the "
            "first line of its docstring is no full sentence.",
        ),
        (
            "step01_echo/tests/test_echo.py",
            '"""An echo."""',
            "",
            "step01_echo/tests/test_echo.py has no docstring.",
        ),
        (
            "step02_groups/tests/test_page.py",
            "test_title",
            "test_header",
            "test_title is gone from step02_groups/tests/test_page.py: bring the test "
            "back, or give the reason under retires in course/steps.toml, as "
            '"tests/test_page.py::test_title".',
        ),
        (
            "step02_groups/tests/test_groups.py",
            "class TestRoom:",
            "class",
            "step02_groups/tests/test_groups.py is no valid Python: "
            "invalid syntax (<unknown>, line 3).",
        ),
    ],
    ids=["no docstring", "half a sentence", "no title", "a lost test", "no Python"],
)
def test_what_the_page_cannot_be_made_of(
    course: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, said: str
) -> None:
    """One sentence names the place, the command fails, and nothing is written."""
    path = course / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert guarantees(root=course) == 1
    assert capsys.readouterr().out.splitlines() == [said]
    assert not (course / PAGE).exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test_a_token_works_once", "A token works once"),
        ("test_async_code_may_not_call_the_orm", "Async code may not call the ORM"),
        ("TestRoom::test_one", "One"),
    ],
)
def test_a_name_is_a_sentence(name: str, words: str) -> None:
    """The name of a test becomes a sentence, and abbreviations get their capitals."""
    assert in_words(name) == words
