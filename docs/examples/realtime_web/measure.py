"""Measure the four ways beside each other, then what a worker does while it waits.

``python measure.py`` starts the servers that it needs, and prints two tables.
``python measure.py FILE`` also writes them to a file, as JSON.
"""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import requests
from websockets.sync.client import connect

HOST = "127.0.0.1"
MANAGE = Path(__file__).with_name("manage.py")
EVENTS = 10
INTERVAL = 1  # seconds from an answer to the next question, when polling
REQUESTS = 3  # slow requests at the same time
LIMIT = 60  # seconds; longer than a busy machine takes for one answer

Event = dict[str, float]
Client = Callable[[int], Iterator[Event]]


def poll(port: int) -> Iterator[Event]:
    """Ask every second what is new."""
    after = 0
    with requests.Session() as session:
        while True:
            url = f"http://{HOST}:{port}/poll/{after}/"
            for event in session.get(url, timeout=LIMIT).json()["events"]:
                after = event["id"]
                yield event
            time.sleep(INTERVAL)


def long_poll(port: int) -> Iterator[Event]:
    """Ask what is new. The server answers when something is."""
    after = 0
    with requests.Session() as session:
        while True:
            url = f"http://{HOST}:{port}/long-poll/{after}/"
            for event in session.get(url, timeout=LIMIT).json()["events"]:
                after = event["id"]
                yield event


def server_sent_events(port: int) -> Iterator[Event]:
    """Ask once, and read the answer, which does not end."""
    url = f"http://{HOST}:{port}/stream/0/"
    with requests.get(url, stream=True, timeout=LIMIT) as response:
        for line in response.iter_lines(chunk_size=1):
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))


def websocket(port: int) -> Iterator[Event]:
    """Open a socket, and read its frames."""
    with connect(f"ws://{HOST}:{port}/ws/events/", origin=f"http://{HOST}") as socket:
        for frame in socket:
            yield json.loads(frame)


WAYS: dict[str, Client] = {
    "polling": poll,
    "long polling": long_poll,
    "server-sent events": server_sent_events,
    "WebSocket": websocket,
}


class Relay:
    """Pass bytes between clients and a server; count the bytes and the requests."""

    def __init__(self, server: int) -> None:
        self.server = server
        self.requests = self.bytes = 0
        self.answered = asyncio.Event()
        self.connections: list[asyncio.Task[None] | None] = []

    async def start(self) -> int:
        """Listen for clients; return the port."""
        self.listener = await asyncio.start_server(self.handle, HOST, 0)
        return int(self.listener.sockets[0].getsockname()[1])

    async def handle(self, reader, writer) -> None:
        """Serve one connection, until one side closes it."""
        self.connections.append(asyncio.current_task())
        server_reader, server_writer = await asyncio.open_connection(HOST, self.server)
        await asyncio.gather(
            self.pass_on(reader, server_writer), self.pass_on(server_reader, writer)
        )

    async def pass_on(self, reader, writer) -> None:
        """Pass on and count what comes from one side."""
        with closing(writer):
            while data := await reader.read(65536):
                self.requests += data.startswith(b"GET ")
                self.bytes += len(data)
                if data.startswith(b"HTTP/"):
                    self.answered.set()
                writer.write(data)


def collect(way: str, port: int) -> list[float]:
    """Take the ten events in one way; return the delay of each, in seconds."""
    delays = []
    with closing(WAYS[way](port)) as events:
        for number, event in enumerate(events, 1):
            delays.append(time.time() - event["at"])
            if event["id"] != number:
                raise ValueError(
                    f"{way}: event {event['id']} came as number {number}."
                )
            if number == EVENTS:
                break
    return delays


async def measure_ways(server: int) -> list[list[object]]:
    """Let all four ways take the same ten events; return a row for each."""
    relays = {way: Relay(server) for way in WAYS}
    ports = {way: await relay.start() for way, relay in relays.items()}
    with ThreadPoolExecutor(len(WAYS) + 1) as pool:
        run = partial(asyncio.get_running_loop().run_in_executor, pool)
        taken = [run(collect, way, port) for way, port in ports.items()]
        # A client hears events from the moment in which its socket is open.
        await relays["WebSocket"].answered.wait()
        await run(requests.post, f"http://{HOST}:{server}/start/")
        delays = dict(zip(WAYS, await asyncio.gather(*taken), strict=True))
    for relay in relays.values():
        await asyncio.gather(*filter(None, relay.connections))
    return [
        [
            way,
            len(delays[way]),
            relay.requests,
            relay.bytes,
            round(100 * median(delays[way]) / INTERVAL, 1),
        ]
        for way, relay in relays.items()
    ]


def ask_slow(port: int, path: str) -> list[object]:
    """Ask for a slow page several times at once; return what the requests say."""
    start = time.monotonic()
    with ThreadPoolExecutor(REQUESTS) as pool:
        url = f"http://{HOST}:{port}/{path}/"
        get = partial(requests.get, timeout=LIMIT)
        answers = [answer.json() for answer in pool.map(get, [url] * REQUESTS)]
    rounds = round(time.monotonic() - start)
    return [
        *(max(answer[key] for answer in answers) for key in ("waiting", "threads")),
        rounds,
    ]


def ask_both(port: int, worker: str) -> list[list[object]]:
    """Ask for both slow pages; return a row for each."""
    views = {"async": "slow", "sync": "slow-sync"}
    return [[worker, kind, *ask_slow(port, path)] for kind, path in views.items()]


@contextmanager
def server(*options: str) -> Iterator[int]:
    """Run this project on a free port; yield the port."""
    with closing(socket.create_server((HOST, 0))) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(MANAGE), "runserver", "--noreload", *options]
    process = subprocess.Popen(
        [*command, f"{HOST}:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(LIMIT * 20):
            time.sleep(0.05)
            with closing(socket.socket()) as probe:
                if probe.connect_ex((HOST, port)) == 0:
                    break
        yield port
    finally:
        process.terminate()
        process.wait()


def measure() -> dict[str, list[list[object]]]:
    """Measure everything; return the rows of the two tables, with their headings."""
    ways: list[list[object]] = [
        [
            "way",
            "events",
            "requests",
            "bytes",
            "median delay, % of the polling interval",
        ]
    ]
    workers: list[list[object]] = [
        ["worker", "view", "requests that wait together", "threads", "seconds"]
    ]
    with server() as port:
        ways += asyncio.run(measure_ways(port))
        workers += ask_both(port, "ASGI, Daphne")
    with server("--noasgi", "--nothreading") as port:
        workers += ask_both(port, "WSGI, one thread")
    return {"ways": ways, "workers": workers}


if __name__ == "__main__":
    measured = measure()
    for rows in measured.values():
        print("\n".join(" | ".join(map(str, row)) for row in rows), end="\n\n")
    for name in sys.argv[1:]:
        Path(name).write_text(json.dumps(measured, indent=1) + "\n", "utf-8")
