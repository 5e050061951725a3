"""An event: one arrow of the diagram, and one line of a recording."""

import json
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import Self

from course.core.terminal import UserError

LAYER, DATABASE = "channel layer", "database"  # the lanes that all workers share
# The kinds of events, by the colour of their arrows.
COLOURS = {
    "green": ("connect", "accept"),
    "blue": ("receive", "send"),
    "dim": ("disconnect", "close", "end"),
    "magenta": ("group_add", "group_send", "group_discard", "channel_send"),
    "yellow": ("event",),
    "cyan": ("database", "thread"),
    "red": ("refuse", "failed", "error"),
}
KINDS = {kind: colour for colour, kinds in COLOURS.items() for kind in kinds}
TYPES = (int | float, str, str, str, str)  # of the fields of an event
FOLD = 4  # from so many equal arrows on, one arrow with a count is drawn …
PAUSE = 0.5  # … if no two of them are more seconds apart
IDLE = 60.0  # the same for tasks of the step, which look at something every few seconds


@dataclass(frozen=True)
class Event:
    """One arrow: when, from which lane to which lane, and what."""

    at: float  # seconds since the start
    kind: str  # a key of KINDS
    source: str  # such as "tab 1", or "worker1 tab 1" if there are several workers
    target: str
    text: str = ""

    @property
    def who(self) -> str:
        """The lanes in words."""
        return " to ".join(dict.fromkeys([self.source, self.target]))

    @property
    def label(self) -> str:
        """The words on the arrow."""
        return f"{self.kind} {self.text}".strip()

    def to_json(self) -> str:
        """Return the event as one line."""
        return json.dumps({k: v for k, v in vars(self).items() if v != ""}, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Return the event in one line of a recording; raise UserError if it is none."""
        with suppress(ValueError, TypeError):
            event = cls(**json.loads(line))
            if event.kind in KINDS and all(map(isinstance, vars(event).values(), TYPES)):
                return event
        raise UserError(f"This line is no event of a recording: {line[:60]!r}")


def fold(events: Iterable[Event]) -> list[Event]:
    """Return the events by time; a burst of equal arrows is one, with the text of the first."""
    bursts = defaultdict[tuple[str, ...], list[list[Event]]](lambda: [[]])
    for event in events:
        alike = bursts[event.kind, event.source, event.target]
        pause = IDLE if "task " in event.source else PAUSE
        if alike[-1] and event.at - alike[-1][-1].at > pause:
            alike.append([])
        alike[-1].append(event)
    rows = []
    for burst in chain.from_iterable(bursts.values()):
        if len(burst) < FOLD:
            rows += burst
        else:
            rows.append(replace(burst[0], text=f"× {len(burst)} {burst[0].text}"))
    return sorted(rows, key=lambda row: row.at)
