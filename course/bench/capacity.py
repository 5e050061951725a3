"""Estimate what a number of people needs: a small model with the figures of `make bench`.

The model counts processor time. docs/scaling.md names everything that the model leaves out: the
network between machines, disks, and people who do not come evenly.
"""

from math import ceil
from statistics import median
from typing import Any

BUSY = 0.5  # share of a core that may be busy; the rest is for people who all talk at once
BACK = 60.0  # seconds that everybody may take to come back when all have to reconnect
SWEEP = 2.0  # seconds between two looks at the counters of a process's rooms: chat/live.py
POOL = 20  # connections to the database that a process may have: config/settings.py
FRAME = 300  # bytes of a delivery on the wire: some forty characters, as JSON, with all headers
# The assumed limits of one database and one network. Bigger ones exist; many operators have these.
DATABASE_CORES = 16
NETWORK = 10_000.0  # Mbit/s


def read_costs(results: dict[str, Any]) -> dict[str, float]:
    """Return the costs that `make bench` has measured for step 5 on uvicorn.

    The unit is microseconds of processor time, if no comment names another. Raise KeyError or
    ValueError if something was not measured.
    """

    def middle(measure: str, key: str) -> float:
        return float(median(run["uvicorn"][measure][key] for run in results["runs"]))

    parts, crowd = results["parts"], results["crowd"]
    # In a big room, storing a message costs next to nothing beside its deliveries.
    delivery = middle("deliveries_500", "cpu")
    return {
        "delivery": delivery,  # handing one message to one socket
        # Each of the twenty rooms had two people, so each message had two deliveries.
        "message": max(middle("stored_20", "cpu") - 2 * delivery, 0.0),
        "heard": max(parts["hear_us"], 0.0),  # taking one message from Redis
        # A page that comes back when everybody does: its share of the whole time.
        "join": results["comeback"]["all"] / crowd["sockets"] * 1e6,
        "memory": middle("idle", "memory"),  # KiB of an idle connection
        "base": middle("idle", "base"),  # KiB of a worker before anybody comes
        "crowd": crowd["alive"],  # idle connections that one worker has held
        "room": middle("stored_1", "rate"),  # messages a second that one room has stored
        "database_message": middle("stored_20", "postgres"),
        "database_join": middle("joins", "postgres"),
        "database_counter": parts["sweep_us"],  # reading one room's counter
        "redis_message": parts["publish_us"],
        "redis_subscriber": parts["subscriber_us"],  # for each process that hears a message
    }


def processes_with(room_size: int, workers: int) -> float:
    """Return how many workers have a member of a room, if chance assigns people to workers."""
    return workers * (1 - (1 - 1 / workers) ** room_size)


class Need:
    """The needs of people who sit in rooms and talk. Values without a unit are per second."""

    def __init__(self, people: int, size: int, rate: float, costs: dict[str, float]) -> None:
        """Calculate for `people` in rooms of `size`, with `rate` messages a minute from each."""
        self.messages = people * rate / 60
        self.deliveries = self.messages * size
        connections = ceil(people / costs["crowd"])  # no worker has more sockets than were measured
        back = ceil(people * costs["join"] / 1e6 / BACK)
        talk, wanted = 0, 1
        # With more workers, more processes hear each room, which costs more workers again. The loop
        # ends at the latest when each person has a worker of their own.
        while wanted > talk:
            talk = wanted
            others = processes_with(size, max(talk, connections, back)) - 1
            each = costs["message"] + others * costs["heard"] + size * costs["delivery"]
            wanted = ceil(self.messages * each / 1e6 / BUSY)
        # The number of workers that each need alone would require.
        self.wanted = {"messages": talk, "connections": connections, "reconnecting": back}
        self.workers = max(self.wanted.values())
        self.memory = (self.workers * costs["base"] + people * costs["memory"]) / 2**20  # GiB

        hearing = processes_with(size, self.workers)
        self.published = self.messages * hearing  # messages that Redis hands to processes
        each = costs["redis_message"] + hearing * costs["redis_subscriber"]
        redis = self.messages * each / 1e6 / BUSY  # cores; one Redis uses one core
        self.redis_servers = max(1, ceil(redis))
        self.counters = people / size * hearing / SWEEP  # read by the sweeps
        used = self.messages * costs["database_message"] + self.counters * costs["database_counter"]
        self.database_cores = used / 1e6 / BUSY
        self.database_connections = self.workers * POOL  # at most
        self.network = self.deliveries * FRAME * 8 / 1e6  # Mbit/s to all people
        # Seconds until everybody is back, when all workers were restarted at once.
        slowest = max(costs["join"] / self.workers, costs["database_join"] / DATABASE_CORES)
        self.back = people * slowest / 1e6
        # The used share of each part that does not grow with the number of workers.
        self.shares = {
            "a room's counter": self.messages / people * size / costs["room"],
            "Redis": redis,
            "PostgreSQL": self.database_cores / DATABASE_CORES,
            "network": self.network / NETWORK,
        }


def largest(shares: dict[str, float] | dict[str, int]) -> str:
    """Return the name of the largest share: the reason for the workers, or the first full part."""
    return max(shares, key=lambda name: shares[name])
