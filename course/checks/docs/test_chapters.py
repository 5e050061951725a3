"""A chapter leads from the step before to its step: its reader follows it to the letter."""

import pytest

from course.book.source import DOCS
from course.checks.docs import chapter01, chapter02, chapter03
from course.checks.docs.reader import follow
from course.core.steps import list_folder

CHAPTERS = {"01-echo": chapter01, "02-groups": chapter02, "03-persistence": chapter03}


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_says_what_happens(name, browser, tmp_path):
    """From the folder at the start to the step at the end, nothing happens that is not said."""
    told = CHAPTERS[name]
    folder, made = follow(DOCS / f"{name}.md", tmp_path, browser, told.SCENES, told.write_hello)
    chapter = made["chapter"]
    assert chapter.left() == []
    files = list_folder(chapter.folder)
    for path in [path for path in files if path.name != "README.md"]:
        assert (folder / path).read_bytes() == (chapter.folder / path).read_bytes(), path
    assert set(list_folder(folder)) <= set(files)
