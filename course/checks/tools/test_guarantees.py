"""`make guarantees`: the page repeats the docstrings of tests, and is never stale."""

from pathlib import Path

import pytest

from course.checks.tools.conftest import add_step
from course.core.manifest import chain, load
from course.core.steps import ROOT, all_steps
from course.core.terminal import UserError
from course.maintain.guarantees import PAGE, guarantees, page

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

[[step]]
label = "step03_crowd"
concept = "a crowd"
[step.retires]
"tests/test_old.py" = "only part 1 has it"
[[step.part]]
name = "a start"
files = ["tests/test_old.py"]
[[step.part]]
name = "an end"
files = ["tests/test_new.py", "tests/test_old.py"]
"""
ECHO = '"""An echo."""\n\ndef test_the_answer():\n    """It comes back."""\n'
GROUPS = '''\
"""Who hears what?"""

async def test_the_orm_and_a_pipe():
    """Code like ``a | b``.

    More about it.
    """
def test_the_stranger():
    """Nothing of it."""
'''
PAGE_1 = '''\
"""The page."""
def helper(): ...
def test_one():
    """One page."""
def test_title():
    """It has a title."""
'''
PAGE_2 = PAGE_1.replace('def test_one():\n    """One page."""\n', "").replace("a title", "two")
NEW = '"""News."""\n\ndef test_last():\n    """It ends."""\n'
EXPECTED = """\
## Since step 1: an echo

### An echo

[tests/test_echo.py](../step01_echo/tests/test_echo.py)

Step 2 gives up all of this: everybody hears.

| Guarantee | 1 | 2 | 3 |
|---|:-:|:-:|:-:|
| **The answer.** It comes back. | ✓ | – | – |

### The page

[tests/test_page.py](../step01_echo/tests/test_page.py)

Step 2 gives up “One”: there are two pages.

| Guarantee | 1 | 2 | 3 |
|---|:-:|:-:|:-:|
| **One.** One page. | ✓ | – | – |
| **Title.** It has two. | ✓ | ✓ | ✓ |

## Since step 2: groups

### Who hears what?

[tests/test_groups.py](../step02_groups/tests/test_groups.py)

| Guarantee | 1 | 2 | 3 |
|---|:-:|:-:|:-:|
| **The ORM and a pipe.** Code like `a \\| b`. |   | ✓ | ✓ |
| **The stranger.** Nothing of it. |   | ✓ | ✓ |

## Since step 3, part 2: an end

### News

[tests/test_new.py](../step03_crowd/tests/test_new.py)

| Guarantee | 1 | 2 | 3 |
|---|:-:|:-:|:-:|
| **Last.** It ends. |   |   | ✓ |
"""


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A course of three steps that add, reword and retire tests, one of them between two parts."""
    add_step(tmp_path, "step01_echo", {"tests/test_echo.py": ECHO, "tests/test_page.py": PAGE_1})
    second = {"tests/test_groups.py": GROUPS, "tests/test_page.py": PAGE_2}
    add_step(tmp_path, "step02_groups", second)
    add_step(tmp_path, "step03_crowd", {"tests/test_new.py": NEW})
    add_step(tmp_path, "course/interim/step03_crowd/part01", {"tests/test_old.py": ECHO})
    (tmp_path / "course" / "steps.toml").write_text(MANIFEST)
    return tmp_path


def test_the_page_of_this_course_is_not_stale() -> None:
    """If this test fails after a change of a test or a docstring, run `make guarantees`."""
    text = page(load(), [chain(step) for step in all_steps()])
    assert text == (ROOT / PAGE).read_text("utf-8")


def test_what_the_page_says(course: Path) -> None:
    """The page names the steps that have a guarantee, and the reason if a step gives it up.

    Guarantees that come with a part are under the part, if the step has several. A file of tests
    that only a mid-point has is left out.
    """
    assert guarantees(root=course) == 0
    text = (course / PAGE).read_text("utf-8")
    assert text.startswith("<!-- Made by `make guarantees`")
    assert text.endswith(f"\n\n{EXPECTED}")


def test_a_file_of_tests_that_is_no_python(course: Path) -> None:
    """One sentence names the place, and nothing is written."""
    path = course / "step02_groups" / "tests" / "test_groups.py"
    path.write_text("class\n")
    said = r"^step02_groups/tests/test_groups\.py is no valid Python: invalid syntax .*line 1"
    with pytest.raises(UserError, match=said):
        guarantees(root=course)
    assert not (course / PAGE).exists()
