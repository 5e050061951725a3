"""The recipes work: their reader follows each of them to the letter."""

from importlib import import_module

import pytest

from course.book.source import DOCS
from course.checks.docs.reader import follow

RECIPES = sorted(DOCS.glob("recipes/*.md"))


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_a_recipe_says_what_happens(file, browser, tmp_path):
    """A recipe changes a copy of a step; the page shows its tests and what one sees."""
    scenes = import_module(f"course.checks.docs.recipes.{file.stem}").SCENES
    follow(file, tmp_path, browser, scenes)
