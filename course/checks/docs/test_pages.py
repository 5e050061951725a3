"""The pages of the book: every fence is taken from a step, run, or marked with a reason."""

import re

import pytest

from course.book import pages
from course.book.source import DOCS, book
from course.core.steps import ROOT

BOOK = book()
CHAPTERS = [file for file in BOOK if file.name[0].isdigit()]
RECIPES = sorted(DOCS.glob("recipes/*.md"))
RECIPE = ["When to use it", "Start", "Try it", "Test it", "What it costs", "What it cannot do"]


def shown(file):
    """Return the code of all listings of a page."""
    return "\n".join(part.code for part in pages.read(file))


@pytest.mark.parametrize(
    "file", sorted({*BOOK, *RECIPES, DOCS / "errors.md"}), ids=lambda file: file.stem
)
def test_something_checks_each_fence(file):
    """A fence is a listing, an edit, a command that is run, or it is marked."""
    assert list(pages.problems(file)) == []


@pytest.mark.parametrize("file", CHAPTERS, ids=lambda file: file.stem)
def test_each_file_of_a_step_is_shown(file):
    """A chapter shows each file that it changes, or names it as copied."""
    namespace = pages.names()
    for part in pages.read(file):
        exec(part.code, namespace)
    assert namespace["chapter"].left() == []


def test_commands_that_nobody_types_say_why():
    """Readers and maintainers are followed; the commands of all other pages have a reason."""
    followed = [*CHAPTERS, *RECIPES, DOCS / "realtime-web.md", DOCS / "maintaining.md"]
    for file in set(DOCS.rglob("*.md")) - set(followed):
        commands = [part for part in pages.read(file) if part.language == "console"]
        assert [part.content for part in commands if not part.mark] == [], file.name


def test_git_ignores_the_folders_of_readers():
    """Each chapter and recipe copies a step to a folder, which is no change of the course."""
    ignored = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    texts = [file.read_text("utf-8") for file in [*CHAPTERS, *RECIPES]]
    folders = [re.search(r"^\$ cp -r \S+ (\w+)$", text, re.MULTILINE)[1] for text in texts]
    assert {f"/{folder}/" for folder in folders} - set(ignored) == set()


def test_each_test_that_a_page_names_exists():
    """A claim that names its test must not outlive the test, and each answer links or names one."""
    folders = [ROOT / "course" / "checks", *ROOT.glob("step0*/tests")]
    code = "".join(file.read_text("utf-8") for folder in folders for file in folder.rglob("*.py"))
    for file in BOOK:
        text = re.sub(r"^```.*?^```", "", file.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        named = re.findall(r"\btest_\w+\b(?!\.py)", text)
        assert [name for name in named if f"def {name}(" not in code] == [], file.name
        answers = re.findall(r"<details>(.*?)</details>", text, re.DOTALL)
        assert [answer for answer in answers if "test_" not in answer] == []


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_a_recipe_says_what_it_is_for(file):
    """Each recipe has these sections, in this order, and may have more between them."""
    titles = re.findall(r"^## (.+)$", file.read_text("utf-8"), re.MULTILINE)
    assert [title for title in titles if title in RECIPE] == RECIPE


@pytest.mark.parametrize("file", CHAPTERS, ids=lambda file: file.stem)
def test_each_edit_says_what_to_try(file):
    """A chapter has five to ten edits; each has a listing, and says what happens after it."""
    edits: list[list[pages.Part]] = []
    for part in pages.read(file):
        if part.number:
            edits.append([part])
        elif edits:
            edits[-1].append(part)
    assert 5 <= len(edits) <= 10
    assert [int(edit[0].number) for edit in edits] == [*range(1, len(edits) + 1)]
    for edit in edits:
        assert any(part.code.startswith("chapter.edit") for part in edit), edit[0].title
        assert any(part.tag for part in edit), edit[0].title
