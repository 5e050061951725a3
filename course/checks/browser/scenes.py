"""Recordings of small scenes, which show a reviewer what goes over the wire.

A test plays a scene and compares the events with `recordings/`. With `COURSE_RECORDINGS=1`, the
test writes the file anew.
"""

import os
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from course.core.processes import wait_until
from course.wire.collect import Collector
from course.wire.events import Event

RECORDINGS = Path(__file__).with_name("recordings")
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00")


def normal(collector: Collector) -> list[Event]:
    """Return the events of a scene: times are numbers from 0 on, threads have no names.

    Tasks that look at something every few seconds are left out.
    """
    regular = [event for event in collector.in_order() if "task Process" not in event.source]
    return [
        replace(event, at=number, ms=None, thread="", text=TIME.sub("(time)", event.text))
        for number, event in enumerate(regular)
    ]


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


def compare(collector: Collector, name: str, ends: int) -> None:
    """Wait for the ends of so many consumers; compare the scene with its recording."""
    assert wait_until(lambda: [each.kind for each in collector.events].count("end") == ends, 10)
    events, file = normal(collector), RECORDINGS / f"{name}.jsonl"
    if os.environ.get("COURSE_RECORDINGS"):
        lines = [event.to_json() + "\n" for event in events]
        file.write_text("".join(lines), "utf-8", newline="\n")
    kept = [Event.from_json(line) for line in file.read_text("utf-8").splitlines()]
    assert by_lane(events) == by_lane(kept)
