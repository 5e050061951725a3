"""A room full of real clients, and what must be true of it after every fault."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import redis

from course.checks.production.clients import Client
from course.checks.production.people import Terminal, Window
from course.checks.production.prepared import Place
from course.core.processes import wait_until
from course.stack.stack import SERVERS

SETTLE = 60.0  # seconds: a client in trouble waits up to 15 before it connects again
# Most clients are signed in as one person, who sends so much that the usual limits would refuse it.
TALKATIVE = {"CHAT_MESSAGE_RATE": "1000", "CHAT_MESSAGE_BURST": "1000"}
BOTH = pytest.mark.parametrize("place", SERVERS, indirect=True)
ONE = pytest.mark.parametrize("place", SERVERS[:1], indirect=True)


class Background:
    """An event loop in a thread of its own: clients go on talking while a test does its work."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, work: Coroutine[Any, Any, Any], seconds: float = 30.0) -> Any:
        """Run a coroutine in the loop, and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def go(self, work: Coroutine[Any, Any, None]) -> Callable[[], None]:
        """Start a coroutine in the loop; return a function that ends the coroutine."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)

        def end() -> None:
            future.cancel()

        return end

    def close(self) -> None:
        """Cancel all tasks, and stop the loop."""

        async def end_all() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.run(end_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()


def rooms_with_people(*urls: str) -> set[bytes]:
    """Return the groups of the rooms to which a worker is subscribed at these Redis servers."""
    found = set[bytes]()
    for url in urls:
        with redis.Redis.from_url(url) as server:
            found |= {channel for channel in server.pubsub_channels() if b"room." in channel}
    return found


class Crowd:
    """Clients of all kinds in one room of a stack: a page, client.py, and our own.

    Of our own, those in `near` connect through nginx. Those in `direct` connect past nginx, one to
    each worker.
    """

    def __init__(self, site: Place, background: Background, window: Window, room: str) -> None:
        self.site = site
        self.stack = stack = site.stack
        self.background = background
        self.window = window
        self.room = room
        self.ends: list[Callable[[], None]] = []
        self.terminal = Terminal(
            "cat", stack.password, stack.site / "client.py", stack.url, self.room
        )
        self.near = [self.client(f"near{n}", stack.url) for n in range(1, 3)]
        self.direct = [
            self.client(f"direct{n}", url) for n, url in enumerate(stack.worker_urls, start=1)
        ]
        self.more: list[Client] = []

    def client(self, name: str, url: str, pace: float = 0.2, who: str = "ann") -> Client:
        """Make a client of a person for an address. Do not let it join yet."""
        address = f"{url.replace('http', 'ws', 1)}/ws/chat/{quote(self.room)}/"
        return Client(name, address, self.site.headers(who), pace)

    @property
    def clients(self) -> list[Client]:
        """Our own clients, without the page and client.py."""
        return [*self.near, *self.direct, *self.more]

    @property
    def everybody(self) -> list[Client | Terminal | Window]:
        """Everybody in the room."""
        return [*self.clients, self.terminal, self.window]

    @property
    def lost(self) -> dict[str, list[int | str]]:
        """The close codes of those who have lost a connection, by name; client.py shows none."""
        everybody = [*self.clients, self.window]
        return {each.name: each.codes for each in everybody if each.codes}

    def enter(self) -> "Crowd":
        """Let everybody join the room, and wait until all are there."""
        for each in [*self.near, *self.direct, self.terminal]:
            self.ends.append(self.background.go(each.live()))
        self.window.enter(f"{self.stack.url}/chat/{quote(self.room)}/")
        joined = lambda: (  # noqa: E731
            all(client.caught_up for client in self.clients) and bool(self.terminal.lines)
        )
        assert wait_until(joined, SETTLE), "not everybody could join"
        return self

    def join(self, *clients: Client) -> None:
        """Let more clients join, and wait until all have caught up."""
        self.more += clients
        self.ends += [self.background.go(client.live()) for client in clients]
        assert wait_until(lambda: all(client.caught_up for client in clients), SETTLE)

    def talk(self) -> None:
        """Let everybody talk."""
        for each in [*self.near, *self.direct, self.terminal]:
            each.talking = True
        self.window.talk()

    def hush(self) -> None:
        """Let everybody stop talking."""
        for each in [*self.clients, self.terminal]:
            each.talking = False
        self.window.hush()

    def stored(self) -> list[tuple[int, str | None, str]]:
        """Return seq, client_id and text of each stored message, in the order of seq."""
        question = "SELECT seq, client_id, text FROM chat_message WHERE room = %s ORDER BY seq"
        with psycopg.connect(self.stack.database_url) as database:
            return database.execute(question, [self.room]).fetchall()

    def leave(self) -> None:
        """Disconnect everybody."""
        for end in self.ends:
            end()
        with suppress(Exception):
            self.window.page.goto("about:blank")

    @contextmanager
    def calm(self, *lively: Client) -> Iterator[None]:
        """Let all but the `lively` talk a fifth as fast, during a fault of many seconds."""
        talkers = [*self.near, *self.direct, self.terminal]
        talkers = [each for each in talkers if each not in lively]
        for each in talkers:
            each.pace *= 5
        yield
        for each in talkers:
            each.pace /= 5

    @contextmanager
    def fault(self) -> Iterator[None]:
        """Let everybody talk before, during and after a fault; then compare all logs."""
        self.enter()
        try:
            began = time.monotonic()
            self.talk()
            assert wait_until(lambda: self.all_hear(began), SETTLE)
            yield
            ended = time.monotonic()
            wait_until(lambda: self.all_hear(ended), SETTLE)
            self.hush()
            self.settle()
        finally:
            self.leave()

    def all_hear(self, since: float) -> bool:
        """Tell whether each client is connected, and has received a message since a time."""
        return all(each.caught_up and each.times[-1:] > [since] for each in self.clients)

    def complete(self) -> bool:
        """Tell whether every message is stored, and everybody has received it."""
        self.window.look()
        if any(each.unsent for each in self.everybody):
            return False
        texts = [text for _, _, text in self.stored()]
        return all(each.texts == self.shown(each, texts) for each in self.everybody)

    def shown(self, each: Client | Terminal | Window, texts: list[str]) -> list[str]:
        """Return the texts that a client has to show: the page drops the oldest ones."""
        if not isinstance(each, Window):
            return texts
        return texts[-max(len(each.texts), Window.LEAST_LINES) :]

    def settle(self) -> None:
        """Wait until everybody has every message exactly once; otherwise raise AssertionError."""
        wait_until(self.complete, SETTLE, pause=0.2)
        stored = self.stored()
        texts = [text for _, _, text in stored]
        assert [seq for seq, _, _ in stored] == list(range(1, len(stored) + 1))
        client_ids = Counter(client_id for _, client_id, _ in stored)
        said = Counter(texts)
        for each in self.everybody:
            assert not each.complaints, (each.name, each.complaints[:5])
            assert not each.unsent, f"{each.name} has {each.unsent} messages that are not stored"
            times = {text: said[text] for text in each.written.values() if said[text] != 1}
            assert not times, f"{each.name} {each.codes}: not stored once, but so often: {times}"
            differs = difference(each.texts, self.shown(each, texts))
            assert not differs, f"{each.name}: {differs}"
        for client in self.clients:
            assert all(client_ids[client_id] == 1 for client_id in client.written)
            assert client.last == len(stored)


def difference(found: list[Any], wanted: list[Any]) -> str:
    """Return the first place where two lists differ, in words; "" if they are equal."""
    for number, (one, other) in enumerate(zip(found, wanted, strict=False)):
        if one != other:
            return f"line {number} of {len(found)} is {one!r}, not {other!r}"
    return "" if len(found) == len(wanted) else f"{len(found)} lines instead of {len(wanted)}"
