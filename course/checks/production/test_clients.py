"""Clients that stop reading, vanish, or come back all at once: the others do not notice."""

import signal
from functools import partial

from course.checks.production.clients import GAVE_UP, Client
from course.checks.production.conftest import Vanished
from course.checks.production.crowd import ONE, Background, Crowd
from course.checks.production.network import Proxy
from course.checks.production.prepared import PUPILS
from course.checks.production.wire import LINUX
from course.core.ports import HOST
from course.core.processes import processor_seconds, wait_until
from course.stack.stack import Stack

SANE = 3.0  # seconds for an answer, on a machine where everything shares two processors
# Seconds of processor time that a worker may need before it answers a person. On a busy machine, an
# answer takes more time, but the same processor time.
PROMPT = 1.0
BUFFERED = 300  # messages of four kilobytes that the systems buffer for a client
OUTBOX = 1000  # messages that wait for one client in a worker
EACH = 25  # sockets of each pupil: one person may have 50 open in a worker
TOO_SLOW = 4013


def slowest_answer(*clients: Client) -> float:
    """Return the longest time until a client received its own message, by the client's clock."""
    return max(seconds for client in clients for seconds in client.answers)


@ONE
def test_a_client_stops_reading(stack: Stack, crowd: Crowd) -> None:
    """A client that stops reading gets 4013, reconnects and catches up; nobody else waits."""
    # Connect past nginx, because nginx buffers up to 30 MB for a client on Linux.
    deaf = crowd.client("deaf", stack.worker_urls[0])
    deaf.reads_ahead = False
    # Each socket's messages are stored one after the other, those of many sockets together.
    criers = [crowd.client(f"crier{n}", stack.url, pace=0.01) for n in range(16)]
    for crier in criers:
        # Each variation selector takes four bytes on the wire, and no space on a page.
        crier.window, crier.padding = 4, "\U000e0100" * 900 + "."
    others = [*criers, *crowd.near, *crowd.direct]
    with crowd.fault(), crowd.calm():
        crowd.join(deaf, *criers)
        deaf.listening.clear()
        for crier in criers:
            crier.talking = True
        enough = BUFFERED + OUTBOX + 100
        assert wait_until(lambda: all(len(other.log) > enough for other in others), 120)
        for crier in criers:
            crier.talking = False
        heard = len(deaf.log)
        deaf.reads_ahead = True
        crowd.background.loop.call_soon_threadsafe(deaf.listening.set)
        assert wait_until(lambda: bool(deaf.codes), 30), (heard, len(deaf.log))
    assert heard < 100
    assert crowd.lost == {"deaf": [TOO_SLOW]}
    assert slowest_answer(*crowd.near, *crowd.direct) < SANE


@LINUX
@ONE
def test_a_class_comes_back_at_once(stack: Stack, crowd: Crowd, vanished: Vanished) -> None:
    """All clients get every message, and the clients that stayed connected hardly wait."""
    pupils = [crowd.client(f"{who} {n}", stack.url, who=who) for who in PUPILS for n in range(EACH)]
    for each in [*crowd.near, *crowd.direct, crowd.terminal, crowd.window]:
        each.pace = 1
    for client, name in zip(crowd.direct, stack.worker_names, strict=True):
        client.clock = partial(processor_seconds, stack.parts[name].pid)
    with crowd.fault():
        crowd.join(*pupils)
        stack.parts["nginx"].restart(signal.SIGKILL)
    assert all(client.codes for client in pupils)
    assert all(client.codes == [] for client in crowd.direct)
    assert slowest_answer(*crowd.direct) < PROMPT


@ONE
def test_a_network_vanishes(stack: Stack, crowd: Crowd, background: Background) -> None:
    """Messages that were stored, but not acknowledged, are not stored again."""
    proxy = Proxy(HOST, stack.port)
    client = crowd.client("traveller", f"http://{background.run(proxy.start())}")
    with crowd.fault():
        crowd.join(client)
        client.talking = True
        assert wait_until(lambda: bool(client.log), 30)
        proxy.vanish("server")
        unanswered = lambda: client.waiting.keys() & {key for _, key, _ in crowd.stored()}  # noqa: E731
        assert wait_until(lambda: len(unanswered()) > 1, 30)
        with crowd.calm():
            assert wait_until(lambda: client.codes == [GAVE_UP], 30)
    assert client.connections == 2
    assert all(each.codes == [] for each in [*crowd.near, *crowd.direct])
