"""An event: one arrow of the diagram, and one line of a recording."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

from course.core.terminal import UserError

LAYER, DATABASE = "channel layer", "database"  # the lanes that all workers share
# Each kind of event: its colour, and the lanes where its arrow starts and ends. "own" is the lane
# of the consumer, or of another part of the step that acts.
KINDS = {
    "connect": ("open", "client", "own"),
    "accept": ("open", "own", "client"),
    "receive": ("frame", "client", "own"),
    "send": ("frame", "own", "client"),
    "disconnect": ("close", "client", "own"),
    "close": ("close", "own", "client"),
    "refuse": ("error", "own", "client"),
    "group_add": ("group", "own", LAYER),
    "group_send": ("group", "own", LAYER),
    "group_discard": ("group", "own", LAYER),
    "channel_send": ("group", "own", LAYER),
    "event": ("event", LAYER, "own"),
    "database": ("database", "own", DATABASE),
    "failed": ("error", "own", DATABASE),
    "thread": ("database", "own", "own"),
    "error": ("error", "own", "own"),
    "end": ("close", "own", "own"),
}
FOLD = 4  # from so many equal arrows on, one arrow with a count is drawn …
PAUSE = 0.5  # … if no two of them are more seconds apart
IDLE = 60.0  # the same for tasks of the step, which look at something every few seconds


@dataclass(frozen=True)
class Event:
    """One arrow: when, from which lane to which lane, and what."""

    at: float  # seconds; in a recording, since its start
    kind: str  # a key of KINDS
    source: str  # such as "tab 1", or "worker1 tab 1" if there are several workers
    target: str
    text: str = ""
    ms: float | None = None  # how long it took
    thread: str = ""
    count: int = 1  # how many equal events the arrow stands for

    @property
    def colour(self) -> str:
        """The name of the arrow's colour."""
        return KINDS[self.kind][0]

    @property
    def who(self) -> str:
        """The lanes in words."""
        return " to ".join(dict.fromkeys([self.source, self.target]))

    @property
    def label(self) -> str:
        """The words on the arrow."""
        words = f"{self.kind} {self.text}".strip()
        if self.count > 1:
            words = f"{self.count} × {words}"
        if self.ms is not None:
            words += f" · {'at most ' if self.count > 1 else ''}{self.ms:.1f} ms"
        return words + (f" · in {self.thread}" if self.thread else "")

    def to_json(self) -> str:
        """Return the event as one line."""
        found = {k: v for k, v in vars(self).items() if v not in ("", None) and k != "count"}
        return json.dumps(found, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Return the event in one line of a recording; raise UserError if it is none."""
        with suppress(ValueError, TypeError):
            event = cls(**json.loads(line))
            texts = event.source, event.target, event.text, event.thread
            numbers = isinstance(event.at, int | float) and isinstance(event.ms, int | float | None)
            lanes = event.source and event.target
            if event.kind in KINDS and numbers and lanes and all(isinstance(t, str) for t in texts):
                return event
        raise UserError(f"This line is no event of a recording: {line[:60]!r}")


def fold(events: Sequence[Event]) -> list[Event]:
    """Return the events, with each burst of equal arrows as one."""
    bursts: list[list[Event]] = []
    latest: dict[tuple[str, ...], list[Event]] = {}
    for event in events:
        alike = event.kind, event.source, event.target
        burst = latest.get(alike)
        pause = IDLE if "task " in event.source else PAUSE
        if burst and event.at - burst[-1].at <= pause:
            burst.append(event)
        else:
            latest[alike] = [event]
            bursts.append(latest[alike])
    rows = []
    for burst in bursts:
        if len(burst) < FOLD:
            rows += burst
        else:
            longest = max((each.ms for each in burst if each.ms is not None), default=None)
            rows.append(replace(burst[0], ms=longest, thread="", count=len(burst)))
    return sorted(rows, key=lambda row: row.at)
