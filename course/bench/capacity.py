"""Estimate what a number of people needs: a small model with the figures of `make bench`.

The model counts processor time. docs/scaling.md names everything that the model leaves out.
"""

from itertools import count
from math import ceil
from statistics import median
from typing import Any

BUSY = 0.5  # share of a core that may be busy; the rest is for people who all talk at once
BACK = 60.0  # seconds that everybody may take to come back when all have to reconnect
SWEEP = 2.0  # seconds between two looks at the counters of a process's rooms: chat/live.py
FRAME = 300  # bytes of a delivery on the wire: some forty characters, as JSON, with all headers
# The assumed limits of one database and one network. Bigger ones exist; many operators have these.
DATABASE_CORES = 16
NETWORK = 10_000.0  # Mbit/s


def read_costs(results: dict[str, Any]) -> dict[str, float]:
    """Return the costs that `make bench` has measured for step 5 on uvicorn; µs are of a processor.

    Raise KeyError or ValueError if something was not measured.
    """

    def middle(measure: str, key: str) -> float:
        return float(median(run["uvicorn"][measure][key] for run in results["runs"]))

    parts, crowd = results["parts"], results["crowd"]
    # In a big room, storing a message costs next to nothing beside its deliveries.
    delivery = middle("deliveries_500", "cpu")
    return {
        "delivery, µs of a worker": delivery,
        # Each of the twenty rooms had two people, so each message had two deliveries.
        "message, µs of a worker": middle("stored_20", "cpu") - 2 * delivery,
        "hearing, µs of a worker": parts["hear_us"],
        # A page that comes back when everybody does: its share of the whole time.
        "return, µs of a worker": crowd["all"] / crowd["sockets"] * 1e6,
        "message, µs of PostgreSQL": middle("stored_20", "postgres"),
        "join, µs of PostgreSQL": middle("joins", "postgres"),
        "counter, µs of PostgreSQL": parts["sweep_us"],
        "message, µs of Redis": parts["publish_us"],
        "hearing, µs of Redis": parts["subscriber_us"],
        "connection, KiB": middle("idle", "memory"),
        "empty worker, KiB": middle("idle", "base"),
        "connections of a worker": crowd["reached"],
        "messages per second in one room": middle("stored_1", "rate"),
    }


def processes_with(room_size: int, workers: int) -> float:
    """Return how many workers have a member of a room, if chance assigns people to workers."""
    return workers * (1 - (1 - 1 / workers) ** room_size)


def need(people: int, size: int, rate: float, costs: dict[str, float]) -> dict[str, float | str]:
    """Return a row of docs/scaling.md, for `people` in rooms of `size` who send `rate` a minute."""
    messages = people * rate / 60
    reasons = {
        "connections": ceil(people / costs["connections of a worker"]),
        "reconnecting": ceil(people * costs["return, µs of a worker"] / 1e6 / BACK),
    }
    fewest = max(reasons.values())

    def talking(workers: int) -> int:
        """Return the workers that all messages need, if each room is spread over `workers`."""
        hearing = (processes_with(size, workers) - 1) * costs["hearing, µs of a worker"]
        each = costs["message, µs of a worker"] + size * costs["delivery, µs of a worker"] + hearing
        return ceil(messages * each / 1e6 / BUSY)

    talk = next(n for n in count(1) if talking(max(n, fewest)) <= n)
    reasons = {"messages": talk} | reasons
    workers = max(reasons.values())
    hearing = processes_with(size, workers)
    redis = messages * (costs["message, µs of Redis"] + hearing * costs["hearing, µs of Redis"])
    counters = people / size * hearing / SWEEP
    database = messages * costs["message, µs of PostgreSQL"]
    database += counters * costs["counter, µs of PostgreSQL"]
    network = messages * size * FRAME * 8 / 1e6
    joining = costs["join, µs of PostgreSQL"] / DATABASE_CORES
    memory = workers * costs["empty worker, KiB"] + people * costs["connection, KiB"]
    shares = {
        "a room's counter": messages / people * size / costs["messages per second in one room"],
        "Redis": redis / 1e6 / BUSY,
        "PostgreSQL": database / 1e6 / BUSY / DATABASE_CORES,
        "network": network / NETWORK,
    }
    full = max(shares, key=lambda name: shares[name])
    return {
        "people": people,
        "in a room": size,
        "messages a minute, each": rate,
        "messages/s": messages,
        "deliveries/s": messages * size,
        "workers": workers,
        "because of": max(reasons, key=lambda name: reasons[name]),
        "their memory, GiB": memory / 2**20,
        "all back after, s": people * max(costs["return, µs of a worker"] / workers, joining) / 1e6,
        "messages × processes/s": messages * hearing,
        "Redis servers": max(1, ceil(redis / 1e6 / BUSY)),
        "counters/s": counters,
        "PostgreSQL's cores": database / 1e6 / BUSY,
        "network, Mbit/s": network,
        "full first": f"{full} ({shares[full]:.0%})",
    }
