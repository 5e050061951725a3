"""The words of a page of the book between `[[[cog` and `]]]`; docs/maintaining.md lists them.

Each function prints a fence. Raises UserError if a name is in no place, or in more than one.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from course.bench.tables import as_markdown
from course.book import edits
from course.book.source import ELLIPSIS, find, language, read_lines
from course.core.steps import ROOT, step_files
from course.core.terminal import UserError
from course.wire.events import Event
from course.wire.picture import mermaid

RECORDINGS = ROOT / "course" / "checks" / "browser" / "recordings"


def fence(kind: str, text: str) -> None:
    """Print a fence."""
    print(f"```{kind}\n{text.rstrip()}\n```")


def pieces(path: str, lines: Sequence[str], parts: list[range]) -> Iterator[str]:
    """Yield the lines of these parts of a file, with an ellipsis where lines are left out."""
    last: range | None = None
    for part in sorted(parts, key=lambda part: part.start):
        text = lines[part.start : part.stop]
        while not text[0].strip():
            text = text[1:]
        if last and any(line.strip() for line in lines[last.stop : part.start]):
            indent = text[0][: len(text[0]) - len(text[0].lstrip())]
            yield f"\n{indent}{ELLIPSIS.get(Path(path).suffix, '…')}\n\n"
        elif last:
            yield "".join(line for line in lines[last.stop : part.stop] if not line.strip())[:2]
        yield from text
        last = part


def show(path: str, *names: str, out: Sequence[str] = ()) -> None:
    """Show a file, or some of it: symbols such as `EchoConsumer.connect`, or units with a text.

    The symbols in `out` are left out.
    """
    lines = read_lines(ROOT / path)
    if not lines:
        raise UserError(f"There is no file {path}, or it is empty.")
    wanted = [find(name, path, lines) for name in names] or [range(len(lines))]
    hidden = {n for name in out for n in find(name, path, lines)}
    shown: list[range] = []
    for number in sorted({n for part in wanted for n in part} - hidden):
        if shown and shown[-1].stop == number:
            shown[-1] = range(shown[-1].start, number + 1)
        else:
            shown.append(range(number, number + 1))
    fence(language(path), "".join(pieces(path, lines, shown)))


def changed(before: str, after: str, path: str, *names: str) -> None:
    """Show what changed in a file between two folders, as a diff; `names` choose some changes."""
    file = edits.File(path, read_lines(ROOT / before / path), read_lines(ROOT / after / path))
    old = file.lines()
    file.apply(*names)
    fence("diff", edits.difference(old, file.lines()))


def tree(folder: str, *left_out: str) -> None:
    """Show the files of a folder as a tree, without those whose path starts as in `left_out`."""
    shown: list[tuple[str, ...]] = []
    lines = [f"{folder}/"]
    for path in step_files(ROOT / folder):
        if path.as_posix().startswith(left_out):
            continue
        for depth in range(1, len(path.parts) + 1):
            if path.parts[:depth] not in shown:
                shown.append(path.parts[:depth])
                mark = "/" if depth < len(path.parts) else ""
                lines.append(f"{'  ' * depth}{path.parts[depth - 1]}{mark}")
    fence("text", "\n".join(lines))


def exchange(recording: str, *left_out: str) -> None:
    """Show a recording of what went over the wire as a sequence diagram, without some kinds."""
    text = (RECORDINGS / f"{recording}.jsonl").read_text("utf-8")
    events = [Event.from_json(line) for line in text.splitlines()]
    fence("mermaid", mermaid([event for event in events if event.kind not in left_out]))


def measured(path: str, name: str) -> None:
    """Show a table of a file of measurements; its rows are lists, and the first has the titles."""
    rows = json.loads((ROOT / path).read_text("utf-8"))[name]
    print(as_markdown([list(map(str, row)) for row in rows]))


class Chapter(edits.Chapter):
    """The edits of a chapter; each one is printed."""

    def edit(self, path: str, *names: str, was: str = "") -> str:
        """Print an edit, under the name of its file."""
        listing = super().edit(path, *names, was=was)
        print(f"`{path}`:\n\n{listing}", end="")
        return listing
