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


def draw(file: str | None) -> int:
    """Make pictures from a recording, beside the file; return 0."""
    if not file:
        raise UserError("Which recording? Say: make wire FILE=talk.jsonl.")
    from course.wire.draw import wire

    return wire(file)


@contextmanager
def traced(trace: str | None, port: int) -> Iterator[Callable[[str], dict[str, str]] | None]:
    """Serve the page with the diagram during this block.

    `port` is the port of the traced site. Yields the function that returns, for the name of a
    worker, the environment variables under which the worker is traced; None if `trace` is None.
    """
    if not trace:
        yield None
        return
    from course.wire.collect import collecting

    with collecting(port + 1, None if trace == "1" else Path(trace)) as collector:
        say(f"See its messages, drawn live: open {colour(collector.url, 'bold')}")
        yield collector.variables
