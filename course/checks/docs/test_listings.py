"""The machinery of the book: what is in no place or two is an error, and edits add up."""

import re

import pytest

from course.book import listings, pages
from course.book.edits import File
from course.book.source import find
from course.core.steps import ROOT
from course.core.terminal import UserError

OLD = "import a\n\nA = 1\n".splitlines(keepends=True)
NEW = '''\
import a
import b

A = 1


class C:
    """Both methods."""

    # The comment belongs to one.
    @property
    def one(self):
        return 1

    def two(self):
        return A
'''.splitlines(keepends=True)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("C.one", "# The comment belongs to one.", "return 1"),
        ("C.two", "def two(self):", "return A"),
        ("C", "class C:", "return A"),
        ("A", "A = 1", "A = 1"),
        ("import b", "import a", "import b"),
    ],
)
def test_a_name_leads_to_its_lines(name, first, last):
    """A symbol comes with its decorators and its comment; a text leads to its paragraph."""
    place = find(name, "c.py", NEW)
    lines = [NEW[number].strip() for number in place if NEW[number].strip()]
    assert (lines[0], lines[-1]) == (first, last)


@pytest.mark.parametrize(("name", "places"), [("C.three", 0), ("no such text", 0), ("return", 2)])
def test_a_name_in_no_place_or_two_is_an_error(name, places):
    """The message names the file, the name, and the number of places."""
    with pytest.raises(UserError, match=rf"c\.py has '{name}' in {places} places"):
        find(name, "c.py", NEW)


def test_edits_add_up():
    """Each edit makes some changes; together they make the step's file, to the byte."""
    file = File("c.py", OLD, NEW)
    file.apply("C.two")
    assert "def two" in "".join(file.lines())
    assert "import b" not in "".join(file.lines())
    file.apply("import b")
    assert file.open_changes()
    file.apply()
    assert file.lines() == NEW
    with pytest.raises(UserError, match="has nothing left to change"):
        file.apply()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```python\nx = 1\n```\n", "nothing checks this fence"),
        ("<!-- illustration: -->\n```python\nx = 1\n```\n", "nothing checks this fence"),
        ("<!-- worng: a b c -->\n```python\nx = 1\n```\n", "a mark is one of"),
        ("**Try it** (*runs*): look.\n", "a tag is one of"),
    ],
)
def test_what_nothing_checks_is_named(text, said):
    """The message names the page and the line."""
    page = ROOT / ".course" / "page.md"
    page.write_text(f"# A page\n\n{text}", "utf-8")
    (found,) = pages.problems(page)
    assert re.match(r"\.course/page\.md:[34]: ", found)
    assert said in found
    page.unlink()


def test_measurements_are_a_table(capsys):
    """Each row is one line, and all rows have the columns of the first."""
    listings.measured("docs/examples/realtime_web/measured.json", "ways")
    rows = capsys.readouterr().out.splitlines()
    assert {row.count("|") for row in rows} == {6}
