"""`TRACE=1` on several workers: one page sees a message cross Redis, on both Redis layers."""

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from course.checks.browser.scenes import compare, read
from course.checks.browser.sites import Edition
from course.checks.production.prepared import Place, prepared
from course.checks.production.test_command import start as start
from course.checks.production.test_command import terminal as terminal
from course.core.ports import HOST, answers, free_port
from course.core.processes import clean_environment, start_job, stop, wait_until
from course.core.steps import find_step
from course.stack.programs import find_programs
from course.stack.services import redis
from course.wire import APPLICATION
from course.wire.collect import Collector

UVICORN = ["uvicorn", APPLICATION, "--host", HOST, "--log-level", "warning", "--port", "{port}"]
DAPHNE = ["daphne", "-b", HOST, "-v", "0", "-p", "{port}", APPLICATION]
CHOICES = {
    "core-daphne": ("channels_redis.core.RedisChannelLayer", DAPHNE),
    "pubsub-uvicorn": ("channels_redis.pubsub.RedisPubSubChannelLayer", UVICORN),
}
PASSWORD = "sesame-open"
SETTINGS = """
CHANNEL_LAYERS = {{"default": {{"BACKEND": "{backend}", "CONFIG": {{"hosts": [
    {{"host": "127.0.0.1", "port": {port}, "password": "{password}", "socket_timeout": None}}
]}}}}}}
"""


@pytest.fixture(params=CHOICES.values(), ids=CHOICES.keys())
def two_workers(request, tmp_path) -> Iterator[tuple[Collector, list[int]]]:
    """Start step 2 on two traced workers with Redis; return the events and the two ports."""
    backend, server = request.param
    with ExitStack() as ends:
        layer = redis(
            "redis", find_programs(Path(sys.executable))["redis"], tmp_path, free_port(), PASSWORD
        )
        ends.callback(layer.stop)
        layer.start()
        site = tmp_path / "site"
        Edition(find_step("2")).copy(site)
        found = SETTINGS.format(backend=backend, port=layer.port, password=PASSWORD)
        with (site / "config" / "settings.py").open("a") as settings:
            settings.write(found)
        collector = ends.enter_context(Collector(free_port()))
        ports = [free_port(), free_port()]
        for name, port in zip(("worker1", "worker2"), ports, strict=True):
            env = clean_environment() | collector.variables(name)
            log = tmp_path / f"{name}.log"
            words = [word.format(port=port) for word in server]
            process = start_job([sys.executable, "-m", *words], log, site, env)
            ends.callback(stop, process)
            assert wait_until(lambda port=port: answers(port), 20), log.read_text()
        yield collector, ports


def talk(port: int):
    """Return a socket in the room, from the site's own origin."""
    return connect(f"ws://{HOST}:{port}/ws/chat/lobby/", origin=f"http://{HOST}:{port}")


def test_a_message_is_seen_to_cross_redis(two_workers):
    """One worker sends to the group, and both workers get the event, with the time it took."""
    collector, ports = two_workers
    with talk(ports[0]) as first, talk(ports[1]) as second:
        first.send(json.dumps({"message": "hello"}))
        for client in (first, second):
            assert json.loads(client.recv(30)) == {"message": "hello"}

    def found(kind: str) -> list[str]:
        return sorted(each.who for each in collector.events if each.kind == kind)

    assert wait_until(lambda: len(found("end")) == 2, 30), collector.events
    first, second = "worker1 consumer 1", "worker2 consumer 1"
    assert found("group_send") == [f"{first} to channel layer"]
    assert found("event") == [f"channel layer to {first}", f"channel layer to {second}"]
    assert found("send") == [f"{first} to worker1 client 1", f"{second} to worker2 client 1"]


def read_until(socket, **wanted) -> None:
    """Read frames until one has these values."""
    while not wanted.items() <= json.loads(socket.recv(timeout=30)).items():
        pass


def test_a_worker_that_dies(start, tmp_path):
    """A traced `make stack` draws all its workers; its scene is the one that is recorded.

    Ann is on one worker and Ben on the other. Ann says something, her worker dies, Ben goes on.
    """
    file = tmp_path / "talk.jsonl"
    shown = start(f"--trace={file}")
    hosts = dict(re.findall(r"(worker\d) +\d+ +([\d.:]+)", shown.seen))
    (page,) = re.findall(r"See its messages, drawn live: open http://([\d.:]+)/", shown.seen)
    password = (prepared() / "password").read_text()
    place = Place(SimpleNamespace(url=shown.url, host=f"{HOST}:{shown.port}", password=password))
    with place.join("lobby", "ben", at=hosts["worker2"]) as ben:
        read_until(ben, caught_up=0)
        ann = place.join("lobby", "ann", at=hosts["worker1"]).__enter__()
        read_until(ann, caught_up=0)
        ann.send(json.dumps({"message": "hello", "client_id": "1"}))
        read_until(ben, message="hello")
        event = 'worker{} task Subscription  event {{"type": "chat.messages"'
        shown.terminal.read(until=event.format(1))
        os.kill(shown.pid("worker1"), signal.SIGKILL)
        with pytest.raises(WebSocketException):
            read_until(ann, message="never")
        shown.terminal.read(until="end the server has ended")
        before = len(shown.terminal.seen)
        ben.send(json.dumps({"message": "Ann?", "client_id": "2"}))
        read_until(ben, message="Ann?")
        shown.terminal.read(until=event.format(2), after=before)
    url = f"http://{page}/picture?known=-1&start=0&stop=-1&width=1280"
    titles = requests.get(url, timeout=30).json()["parts"]["head"]
    assert [*dict.fromkeys(re.findall(r"worker\d|layer", titles))] == [
        "worker1",
        "layer",
        "worker2",
    ]
    shown.terminal.type("\x03")
    assert shown.terminal.wait() == 0
    compare(read(file), find_step("5"))
