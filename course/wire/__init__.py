"""`make run STEP=2 TRACE=1`: draw what goes over the wire and through the channel layer.

Without TRACE, no other module of this package is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from course.core.terminal import UserError, colour, say

APPLICATION = "course.wire.inside.trace:application"  # in place of the step's own


def check(trace: str | None) -> None:
    """Raise UserError unless `trace` is None, "1", or the name of a recording to write."""
    if trace and trace != "1" and not trace.endswith(".jsonl"):
        raise UserError(f"TRACE must be 1, or a file such as talk.jsonl, not {trace!r}.")


def draw(name: str | None) -> int:
    """Write an SVG file and a Mermaid file beside the recording called `name`; return 0."""
    from course.wire.events import Event
    from course.wire.picture import mermaid, static_svg

    file = Path(name or "")
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Which recording? Say: make wire FILE=talk.jsonl. ({error})") from None
    events = sorted(map(Event.from_json, filter(None, lines)), key=lambda event: event.at)
    for suffix, content in ((".svg", static_svg(events)), (".mmd", mermaid(events))):
        file.with_suffix(suffix).write_text(content, "utf-8", newline="\n")
        say(f"{len(events)} events are drawn in {file.with_suffix(suffix)}")
    return 0


@contextmanager
def traced(trace: str | None, port: int) -> Iterator[Callable[[str], dict[str, str]] | None]:
    """Serve the page with the diagram during this block.

    `port` is the port of the traced site. Yields the function that returns, for the name of a
    worker, the environment variables under which the worker is traced; None if `trace` is None.
    """
    if not trace:
        yield None
        return
    from course.wire.collect import Collector

    with Collector(port + 1, None if trace == "1" else Path(trace)) as collector:
        say(f"See its messages, drawn live: open {colour(collector.url, 'bold')}")
        yield collector.variables
