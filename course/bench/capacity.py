"""Estimate what a number of people needs: a small model with the figures of `make bench`.

The model counts processor time. docs/scaling.md names everything that the model leaves out: the
network between machines, disks, and people who do not come evenly.
"""

from dataclasses import dataclass, fields
from math import ceil
from typing import Any

from course.bench.figures import Run, spread, values

BUSY = 0.5  # share of a core that may be busy; the rest is for people who all talk at once
BACK = 60.0  # seconds that everybody may take to come back when all have to reconnect
SWEEP = 2.0  # seconds between two looks at the counters of a process's rooms: chat/live.py
POOL = 20  # connections to the database that a process may have: config/settings.py
FRAME = 300  # bytes of a delivery on the wire: some forty characters, as JSON, with all headers
# The assumed limits of one database and one network. Bigger ones exist; many operators have these.
DATABASE_CORES = 16
NETWORK = 10_000.0  # Mbit/s


@dataclass(frozen=True)
class Figures:
    """The measured costs of one worker, PostgreSQL and Redis, as processor time.

    The unit is microseconds, except for `memory` and `base` (KiB), `crowd` (sockets) and `room`
    (messages per second).
    """

    delivery: float  # handing one message to one socket
    message: float  # storing and publishing one message, alone in its transaction
    heard: float  # taking one message from Redis
    join: float  # a page that comes back when everybody does: its share of the whole time
    memory: float  # of an idle connection
    base: float  # of a worker before anybody comes
    crowd: float  # idle connections that one worker has held
    room: float  # messages a second that one room has stored
    database_message: float
    database_join: float
    database_counter: float  # reading one room's counter
    redis_message: float
    redis_subscriber: float  # for each process that hears a message


def read_figures(results: dict[str, Any]) -> Figures:
    """Return the medians of what `make bench` has measured for step 5 on uvicorn."""
    runs: list[Run] = results["runs"]

    def median(measure: str, key: str) -> float:
        found = spread(values(runs, "uvicorn", measure, key))
        if found is None:
            raise ValueError(f"uvicorn's {measure} was not measured")
        return found.median

    # In a big room, storing a message costs next to nothing beside its deliveries.
    delivery = median("deliveries_500", "cpu")
    return Figures(
        delivery=delivery,
        # Each of the twenty rooms had two people, so each message had two deliveries.
        message=max(median("stored_20", "cpu") - 2 * delivery, 0.0),
        heard=max(results["parts"]["hear_us"], 0.0),
        join=results["comeback"]["all"] / results["crowd"]["sockets"] * 1e6,
        memory=median("idle", "memory"),
        base=median("idle", "base"),
        crowd=results["crowd"]["alive"],
        room=median("stored_1", "rate"),
        database_message=median("stored_20", "postgres"),
        database_join=median("joins", "postgres"),
        database_counter=results["parts"]["sweep_us"],
        redis_message=results["parts"]["publish_us"],
        redis_subscriber=results["parts"]["subscriber_us"],
    )


@dataclass(frozen=True)
class Workers:
    """The number of workers that each need alone would require."""

    talk: int  # for the processor time of messages
    connections: int  # so that no worker has more sockets than were measured
    return_: int  # so that everybody reconnects within `BACK` seconds

    @property
    def count(self) -> int:
        """The number of workers that meets every need."""
        return max(self.talk, self.connections, self.return_)

    @property
    def reason(self) -> str:
        """The need that decides the number of workers."""
        names = {"talk": "messages", "connections": "connections", "return_": "reconnecting"}
        return next(
            names[each.name] for each in fields(self) if getattr(self, each.name) == self.count
        )


@dataclass(frozen=True)
class Need:
    """The needs of a number of people. Values are per second unless a comment names a unit."""

    messages: float
    deliveries: float
    workers: Workers
    memory: float  # GiB, of all workers
    subscriptions: float  # of all processes to rooms
    published: float  # messages that Redis hands to processes
    redis_servers: int  # shards
    writes: float  # transactions
    counters: float  # read by the sweeps
    database_cores: float
    database_connections: int  # at most
    network: float  # Mbit/s to all people
    back: float  # seconds until everybody is back, when all workers were restarted at once
    room_share: float  # of what one room can store

    @property
    def shares(self) -> dict[str, float]:
        """The used share of each part that does not grow with the number of workers."""
        return {
            "a room's counter": self.room_share,
            "Redis": self.redis_load / BUSY,
            "PostgreSQL": self.database_cores / DATABASE_CORES,
            "network": self.network / NETWORK,
        }

    redis_load: float = 0.0  # of one core

    @property
    def first(self) -> str:
        """The part that is full first when the number of people grows."""
        return max(self.shares, key=lambda name: self.shares[name])


def processes_with(room_size: int, workers: int) -> float:
    """Return how many workers have a member of a room, if chance assigns people to workers."""
    return workers * (1 - (1 - 1 / workers) ** room_size)


def need(
    people: int, room_size: int, messages_per_person_per_minute: float, figures: Figures
) -> Need:
    """Return the needs of `people` who sit in rooms of `room_size` and talk that much.

    Each person is in one room. Raise ValueError if a room is empty or larger than `people`.
    """
    if not 1 <= room_size <= people:
        raise ValueError("a room has somebody, and no more than there are")
    rooms = people / room_size
    messages = people * messages_per_person_per_minute / 60
    deliveries = messages * room_size

    def load(workers: int) -> float:
        """Return the cores that messages keep busy, if each process of a room hears each one."""
        others = processes_with(room_size, workers) - 1
        each = figures.message + others * figures.heard + room_size * figures.delivery
        return messages * each / 1e6

    connections = ceil(people / figures.crowd)
    return_ = ceil(people * figures.join / 1e6 / BACK)
    talk = 1
    # With more workers, more processes hear each room, which costs more workers again. The loop
    # ends at the latest when each person has a worker of their own.
    while (wanted := ceil(load(max(talk, connections, return_)) / BUSY)) > talk:
        talk = wanted
    workers = Workers(talk, connections, return_)

    hearing = processes_with(room_size, workers.count)
    subscriptions = rooms * hearing
    counters = subscriptions / SWEEP
    redis_load = messages * (figures.redis_message + hearing * figures.redis_subscriber) / 1e6
    database = messages * figures.database_message + counters * figures.database_counter
    return Need(
        messages=messages,
        deliveries=deliveries,
        workers=workers,
        memory=(workers.count * figures.base + people * figures.memory) / 2**20,
        subscriptions=subscriptions,
        published=messages * hearing,
        redis_servers=max(1, ceil(redis_load / BUSY)),
        redis_load=redis_load,
        writes=messages,
        counters=counters,
        database_cores=database / 1e6 / BUSY,
        database_connections=workers.count * POOL,
        network=deliveries * FRAME * 8 / 1e6,
        back=people
        * max(figures.join / workers.count, figures.database_join / DATABASE_CORES)
        / 1e6,
        room_share=messages / rooms / figures.room,
    )
