"""Recordings of small scenes, which show a reviewer what goes over the wire.

A test plays a scene and compares the events with `recordings/`. With `COURSE_RECORDINGS=1`, the
test writes the file anew.
"""

import os
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from course.core.steps import Step
from course.wire.events import Event

RECORDINGS = Path(__file__).with_name("recordings")
VARYING = re.compile(r" · [\d.]+ ms · in .*")
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00")


def normal(events: list[Event]) -> list[Event]:
    """Return the events of a scene: times are numbers from 0 on, threads have no names.

    A task that looks at something every few seconds is left out.
    """
    regular = [event for event in events if "task Process" not in event.source]
    return [
        replace(event, at=number, text=VARYING.sub("", TIME.sub("(time)", event.text)))
        for number, event in enumerate(regular)
    ]


def read(file: Path) -> list[Event]:
    """Return the events of a recording."""
    return [Event.from_json(line) for line in file.read_text("utf-8").splitlines()]


def by_lane(events: list[Event]) -> dict[str, list[str]]:
    """Return the events of each consumer, or other part of the step, in their order.

    Two consumers that get the same event may run in any order.
    """
    lanes = defaultdict(list)
    for event in events:
        own = [
            lane for lane in (event.source, event.target) if re.search("consumer|task|views", lane)
        ]
        lanes[own[0]].append(f"{event.who}: {event.label}")
    return lanes


def compare(events: list[Event], step: Step) -> None:
    """Compare the events of a step's scene with the recording."""
    file = RECORDINGS / f"{step.label}.jsonl"
    if os.environ.get("COURSE_RECORDINGS"):
        lines = [event.to_json() + "\n" for event in normal(events)]
        file.write_text("".join(lines), "utf-8", newline="\n")
    assert by_lane(normal(events)) == by_lane(read(file))
