"""Redis and PostgreSQL restart, or are gone for some seconds, while people talk."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from course.checks.production.crowd import ONE, Crowd, rooms_with_people
from course.core.processes import wait_until
from course.stack.part import Part
from course.stack.stack import Stack

OUTAGE = 10.0  # seconds


def is_over(worker: Part, service: str) -> bool:
    """Tell whether a worker has said of each outage of a service that it is over."""
    text = worker.text
    return text.count(f"{service} does not answer") == text.count(f"{service} answers again")


def is_back(worker: Part, size: int) -> bool:
    """Tell whether a worker has said, after the first `size` characters, that a service is back."""
    return "answers again" in worker.text[size:]


@contextmanager
def few_lines_in_the_logs(stack: Stack, service: str) -> Iterator[None]:
    """Check that each worker says once that a service is away, and once that it is back."""
    workers = [stack.parts[name] for name in stack.worker_names]
    # A worker says so within two comparisons of its rooms, or never, if the room was left.
    wait_until(lambda: all(is_over(worker, service) for worker in workers), 5)
    sizes = [len(worker.text) for worker in workers]
    yield
    for worker, size in zip(workers, sizes, strict=True):
        assert wait_until(partial(is_back, worker, size), 30)
        said = worker.text[size:].splitlines()
        away, back = [line for line in said if service in line]
        assert f"{service} does not answer" in away
        assert f"{service} answers again" in back
        assert not [line for line in said if "Traceback" in line]
        assert len(said) < 10, said


def shard_of(stack: Stack, room: str) -> str:
    """Return the name of the Redis that carries the messages of the only room with people.

    After a test that stopped Redis, a worker may reconnect only at its next try, in two seconds.
    """
    names: list[str] = []

    def is_found() -> bool:
        urls = zip(stack.redis_names, stack.redis_urls, strict=True)
        names[:] = [name for name, url in urls if rooms_with_people(url)]
        return len(names) == 1

    assert wait_until(is_found, 30), (room, names)
    return names[0]


@ONE
def test_redis_restarts_and_one_of_two_is_killed(stack: Stack, crowd: Crowd) -> None:
    """The killed Redis is the one that the room needs. Nobody loses a connection."""
    with crowd.fault():
        for name in stack.redis_names:
            stack.parts[name].restart()
        shard = shard_of(stack, crowd.room)
        restarted = time.monotonic()
        assert wait_until(lambda: crowd.all_hear(restarted), 30)
        stack.parts[shard].restart(signal.SIGKILL)
    assert crowd.lost == {}


@ONE
def test_redis_is_gone_for_a_while(stack: Stack, crowd: Crowd) -> None:
    """The rooms go on slowly: workers find the messages of other workers in the database."""
    with crowd.fault(), few_lines_in_the_logs(stack, "Redis"):
        for name in stack.redis_names:
            stack.parts[name].stop(signal.SIGKILL)
        with crowd.calm():
            time.sleep(OUTAGE)
        for name in stack.redis_names:
            stack.parts[name].start()
    assert crowd.lost == {}


@ONE
def test_postgresql_restarts(stack: Stack, crowd: Crowd) -> None:
    """Nobody loses a connection."""
    with crowd.fault():
        stack.parts["postgres"].restart()
        time.sleep(1)
    assert crowd.lost == {}


@ONE
def test_postgresql_is_gone_for_a_while(stack: Stack, crowd: Crowd) -> None:
    """A sender gets an error that says when to send the message again, which then succeeds."""
    with crowd.fault(), few_lines_in_the_logs(stack, "The database"):
        stack.parts["postgres"].stop(signal.SIGKILL)
        with crowd.calm():
            time.sleep(OUTAGE)
        stack.parts["postgres"].start()
    assert crowd.lost == {}
    for client in crowd.clients:
        assert "The message was not stored." in str(client.repeats[0]["error"])
        assert client.repeats[0]["client_id"] in client.written
