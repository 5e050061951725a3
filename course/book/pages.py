"""Read a page of the book: its listings, fences and tags, in their order."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course.book import listings
from course.core.steps import ROOT

TAGS = ("won't run yet", "runs, nothing to see", "runs, look here")
MARKS = ("wrong", "try", "edit", "file", "seen", "illustration")
PART = re.compile(
    r"""
    ^<!--\ \[\[\[cog\ (?P<code>.*?)\ ?\]\]\]\ -->\n (?P<output>.*?) ^<!--\ \[\[\[end\]\]\]\ -->$
    | (?:^<!--\ (?P<mark>\w+):\ (?P<note>[^\n]*?)\ -->\n\n?)?
      ^```(?P<language>\w*)\n (?P<content>.*?) ^```$
    | ^\*\*Try\ it\*\*\ \(\*(?P<tag>[^*]*)\*\)(?P<see>(?:[^\n]+\n)*)
    | ^\#\#\#\ (?P<number>\d+)\.\ (?P<title>[^\n]*)$
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Part:
    """One part of a page that is not prose; what it does not have is empty."""

    line: int
    code: str = ""  # what makes a listing
    mark: str = ""  # the word before a fence: one of MARKS
    note: str = ""  # what follows the mark: a name, or a reason
    language: str = ""
    content: str = ""  # the text in a fence
    tag: str = ""  # one of TAGS
    see: str = ""  # what the reader does and sees
    number: str = ""  # the number of an edit
    title: str = ""

    @property
    def is_fence(self) -> bool:
        """Whether this is a fence that a person wrote."""
        return bool(self.content)


def read(file: Path) -> Iterator[Part]:
    """Yield the parts of a page, in their order."""
    text = file.read_text("utf-8")
    for found in PART.finditer(text):
        values = {key: value or "" for key, value in found.groupdict().items() if key != "output"}
        yield Part(text.count("\n", 0, found.start()) + 1, **values)


def names() -> dict[str, Any]:
    """Return the names that the listings of a page can use."""
    return {name: value for name, value in vars(listings).items() if not name.startswith("_")}


def problems(file: Path) -> Iterator[str]:
    """Yield a message for each fence that nothing checks."""
    for part in read(file):
        where = f"{file.relative_to(ROOT)}:{part.line}"
        if part.is_fence and part.language != "console" and not (part.mark and part.note):
            yield (
                f"{where}: nothing checks this fence. Take it from a step with a listing, run it "
                f"as `console`, or say before it `<!-- illustration: why -->`."
            )
        if part.mark and part.mark not in MARKS:
            yield f"{where}: a mark is one of {', '.join(MARKS)}; not {part.mark!r}."
        if part.tag and part.tag not in TAGS:
            yield f"{where}: a tag is one of {', '.join(TAGS)}; not {part.tag!r}."
