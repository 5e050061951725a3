"""Workers that die, restart or freeze while people talk: nothing is lost, nothing comes twice."""

import os
import signal
import time

import psycopg
from websockets.sync.client import connect

from course.checks.production.clients import GAVE_UP, NEVER_OPEN, WHILE_SENDING, connect_narrowly
from course.checks.production.conftest import Vanished
from course.checks.production.crowd import BOTH, ONE, Crowd, rooms_with_people
from course.checks.production.daphne import is_limited
from course.checks.production.prepared import Place
from course.core.processes import wait_until
from course.stack.stack import Stack

LONG_HISTORY = """
INSERT INTO chat_message (room, seq, text, sent_at)
SELECT 'long', seq, repeat('x', 1000), now() FROM generate_series(1, 5000) AS seq
"""
FORGOTTEN = 45.0  # seconds: the worker pings every twenty, and waits twenty for the answer


@BOTH
def test_a_worker_is_killed(stack: Stack, crowd: Crowd) -> None:
    """Its clients go to the other worker, and the other worker's clients notice nothing."""
    with crowd.fault():
        stack.parts["worker1"].restart(signal.SIGKILL)
    assert {1006, WHILE_SENDING} & set(crowd.direct[0].codes)
    assert crowd.direct[1].codes == []


@ONE
def test_nginx_reloads(stack: Stack, crowd: Crowd) -> None:
    """Nobody loses a connection."""
    with crowd.fault():
        os.kill(stack.parts["nginx"].pid, signal.SIGHUP)
        time.sleep(1)
    assert crowd.lost == {}


@ONE
def test_a_worker_freezes(stack: Stack, crowd: Crowd) -> None:
    """Clients of a frozen worker notice, and reconnect when that worker is killed, or before."""
    near, (victim, other) = crowd.near, crowd.direct
    with crowd.fault():
        victim.url = near[0].url  # from now on, this client connects through nginx
        os.kill(stack.parts["worker1"].pid, signal.SIGSTOP)
        with crowd.calm(victim):
            assert wait_until(lambda: victim.codes == [GAVE_UP], 60)
            newest = other.last  # the frozen worker sends it to nobody
            assert wait_until(lambda: all(each.codes or each.last >= newest for each in near), 60)
        stack.parts["worker1"].restart(signal.SIGKILL)
    assert other.codes == []
    assert all(set(client.codes) <= {GAVE_UP} for client in near)


@ONE
def test_a_worker_stops_though_the_database_waits(stack: Stack, crowd: Crowd) -> None:
    """A lock in the database delays the stop for some seconds, and no message is lost."""
    with psycopg.connect(stack.database_url) as database, crowd.fault():
        database.execute("LOCK TABLE chat_room IN EXCLUSIVE MODE")
        time.sleep(0.5)
        began = time.monotonic()
        stack.parts["worker1"].stop()
        seconds = time.monotonic() - began
        database.rollback()
        stack.parts["worker1"].start()
    assert seconds < 10


@ONE
def test_a_worker_stops_though_a_client_does_not_read(stack: Stack, place: Place) -> None:
    """The worker stops, though 5 MB of history wait for the client before its close frame."""
    with psycopg.connect(stack.database_url) as database:
        database.execute(LONG_HISTORY)
        database.execute("INSERT INTO chat_room VALUES ('long', 5000)")
    url = f"{stack.worker_urls[0].replace('http', 'ws', 1)}/ws/chat/long/?after=0"
    line = connect_narrowly(url)
    # With max_queue=1 a client stops reading while one message waits for recv().
    with connect(url, sock=line, additional_headers=place.headers(), max_queue=1, close_timeout=0):
        time.sleep(2)
        worker = stack.parts["worker1"]
        began = time.monotonic()
        os.kill(worker.pid, signal.SIGTERM)
        assert wait_until(lambda: not worker.running, 10)
        assert time.monotonic() - began > 7


@ONE
def test_a_client_that_vanished_is_forgotten(stack: Stack, vanished: Vanished) -> None:
    """The worker pings the client, gets no answer, and leaves the room's group."""
    left = vanished.since + FORGOTTEN - time.monotonic()
    assert wait_until(lambda: "server" in vanished.pipe.ended, left)
    assert vanished.pipe.ended["server"] - vanished.since > 15
    assert wait_until(lambda: vanished.group not in rooms_with_people(*stack.redis_urls), 3)


@BOTH
def test_workers_restart_one_after_the_other(stack: Stack, crowd: Crowd) -> None:
    """Each client that only listens gets 1012, also through nginx; each worker ends in time.

    A client that is sending in this moment may get 1006, and a handshake may fail.
    """
    urls = [*stack.worker_urls, stack.url, stack.url]
    listeners = [crowd.client(f"listener{n}", url) for n, url in enumerate(urls, start=1)]
    seconds = []
    with crowd.fault():
        crowd.join(*listeners)
        for name in stack.worker_names:
            began = time.monotonic()
            stack.parts[name].stop()
            seconds.append(time.monotonic() - began)
            stack.parts[name].start()
        crowd.window.look()
        lost = {name: set(codes) for name, codes in crowd.lost.items()}
    code = 1006 if is_limited(stack.server, "No close frame at a stop") else 1012
    assert [lost.get(each.name) for each in listeners] == [{code}] * len(listeners), str(lost)
    assert all(codes <= {code, WHILE_SENDING, NEVER_OPEN} for codes in lost.values()), str(lost)
    assert all(client.codes for client in crowd.direct)
    assert max(seconds) < 10
