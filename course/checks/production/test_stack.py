"""A stack in production shape, part by part, with real faults."""

import http.client
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import pytest
import redis
import requests
from websockets.exceptions import InvalidStatus

from course.checks.production.crowd import BOTH, ONE
from course.checks.production.prepared import Place, QuickStack
from course.core.ports import HOST
from course.core.processes import descendants, wait_until
from course.core.terminal import UserError
from course.stack.part import is_alive


@pytest.fixture(autouse=True)
def whole(place):
    """After each test, start the parts that the test stopped."""
    yield
    place.mend()


def wait_for(socket, text: str) -> None:
    """Read until a message comes; skip the history and the frame `caught_up`."""
    while json.loads(socket.recv(timeout=30)).get("message") != text:
        pass


def guess(port: int, source: str, **headers: str) -> int:
    """Send a wrong password from an address of this machine; return the status."""
    connection = http.client.HTTPConnection(HOST, port, source_address=(source, 0))
    body = urlencode({"username": "ben", "password": "wrong"})
    headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    connection.request("POST", "/api/token/", body, headers)
    return connection.getresponse().status


@BOTH
def test_every_part_is_there(place: Place) -> None:
    """Each part has a process and an address, and the stack's attributes lead to the parts."""
    stack = place.stack
    assert list(stack.parts) == ["postgres", "redis1", "redis2", "worker1", "worker2", "nginx"]
    assert all(is_alive(part.pid) for part in stack.parts.values())
    assert len({part.address for part in stack.parts.values()}) == 6
    for url in stack.redis_urls:
        assert redis.Redis.from_url(url).ping()
    services = {"database": "ok", "channel_layer": "ok"}
    assert requests.get(f"{stack.url}/readyz", timeout=30).json() == services


@ONE
def test_nothing_listens_beyond_this_machine_or_without_a_password(place: Place) -> None:
    """Other users of the machine get neither the database nor Redis."""
    stack = place.stack
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=stack.ports["redis1"], retry=None).ping()
    wrong = stack.database_url.replace(stack.password, "guess")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
    if sys.platform == "linux":
        listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        sockets = re.findall(r"^ *\d+: (\w+):(\w+) \w+:0000 0A", listening, re.MULTILINE)
        ports = {f"{part.port:04X}" for part in stack.parts.values()}
        found = {(host, port) for host, port in sockets if port in ports}
        assert found == {("0100007F", port) for port in ports}


@ONE
def test_a_database_that_is_killed_leaves_nothing_in_memory(place: Place) -> None:
    """All that PostgreSQL keeps outside its processes lies in its folder, which is removed."""
    if sys.platform == "linux":
        shared = Path(f"/proc/{place.stack.parts['postgres'].pid}/maps").read_text()
        assert "pg_dynshmem" in shared
        assert "/dev/shm/PostgreSQL" not in shared


@BOTH
def test_rooms_spread_over_all_redis_servers(place: Place) -> None:
    """Both Redis servers carry rooms; in each room, a message reaches the other worker."""
    rooms = [f"room{number}" for number in range(12)]
    urls = place.stack.redis_urls
    with ExitStack() as sockets:
        pairs = [
            [sockets.enter_context(place.join(room, at=at)) for at in place.stack.worker_hosts]
            for room in rooms
        ]
        carried = [len(redis.Redis.from_url(url).pubsub_channels("*group*")) for url in urls]
        for room, (speaker, listener) in zip(rooms, pairs, strict=True):
            speaker.send(json.dumps({"message": f"hello {room}"}))
            wait_for(listener, f"hello {room}")
    assert min(carried) >= 2


@BOTH
def test_the_client_counts_not_nginx(place: Place) -> None:
    """Wrong passwords are counted by the browser's address, whatever headers it sends."""
    if sys.platform != "linux":
        pytest.skip("Only Linux has more addresses of its own than 127.0.0.1.")
    port = place.stack.port
    forged = [{"X-Forwarded-For": f"10.0.0.{number}"} for number in range(6)]
    answers = [guess(port, "127.0.0.2", **headers) for headers in forged]
    assert answers == [401] * 5 + [429]
    forged = {"X-Forwarded-For": "127.0.0.2", "Forwarded": "for=127.0.0.2"}
    assert guess(port, "127.0.0.3", **forged) == 401


@ONE
def test_static_files_come_from_nginx(place: Place) -> None:
    """nginx packs static files, hides its version, and lets browsers keep hashed names for good."""
    url = place.stack.url
    page = requests.get(f"{url}/accounts/login/", timeout=30)
    (sheet,) = re.findall(r'href="(/static/chat/chat\.[0-9a-f]{12}\.css)"', page.text)
    answer = requests.get(url + sheet, timeout=30)
    assert answer.headers["Content-Type"] == "text/css"
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Server"] == "nginx"
    plain = requests.get(f"{url}/static/chat/chat.css", timeout=30)
    assert plain.headers["Cache-Control"] == "public, max-age=300"
    admin = requests.get(f"{url}/admin/login/", timeout=30).text
    (sheet, *_) = re.findall(r'href="(/static/admin/css/base\.[0-9a-f]{12}\.css)"', admin)
    assert requests.get(url + sheet, timeout=30).status_code == 200


def used_again(place: Place, log: Path) -> None:
    """Check that nginx uses worker1 again, and that no request fails meanwhile."""
    before = log.stat().st_size

    def is_used() -> bool:
        assert requests.get(f"{place.stack.url}/healthz", timeout=30).status_code == 200
        return place.stack.worker_hosts[0] in log.read_text()[before:]

    # nginx avoids a failed worker for a second, and then uses that worker more and more.
    assert wait_until(is_used, 30)


@ONE
def test_nobody_sees_workers_restart_one_after_the_other(place: Place) -> None:
    """Each request succeeds, even if worker2 stops while nginx still avoids worker1."""
    statuses = []
    workers = [place.stack.parts[name] for name in place.stack.worker_names]
    with ThreadPoolExecutor(1) as pool:
        rolling = pool.submit(lambda: [worker.restart() for worker in workers])
        while not rolling.done():
            statuses.append(requests.get(f"{place.stack.url}/healthz", timeout=30).status_code)
        rolling.result()
    assert len(statuses) > 20
    assert set(statuses) == {200}
    used_again(place, place.stack.folder / "access.log")


@BOTH
def test_nobody_sees_that_a_worker_is_gone_and_no_log_has_a_token(place: Place) -> None:
    """While a worker is gone, the other one answers. Then nginx uses both again.

    No log has a good token, a bad token, or a token whose request reaches no worker.
    """
    stack = place.stack
    log = stack.folder / "access.log"
    good = place.token()
    with place.join("lobby", None, token=good) as socket:
        socket.send('{"message": "hi"}')
        wait_for(socket, "hi")
    with place.join("lobby", None, token=f"bad-{good}"):
        pass
    requests.get(f"{stack.url}/chat/lobby/?token={good}", timeout=30)
    stack.parts["worker1"].stop(signal.SIGKILL)
    for _ in range(6):
        assert requests.get(f"{stack.url}/healthz", timeout=30).status_code == 200
        with place.join("lobby"):
            pass
    stack.parts["worker2"].stop()
    with pytest.raises(InvalidStatus, match="502"):
        place.join("lobby", None, token=good)
    assert "/ws/chat/lobby/" in log.read_text()
    files = [file for file in stack.folder.glob("*") if file.is_file()]
    assert len(files) >= 7
    assert [file.name for file in files if good in file.read_text(errors="replace")] == []
    place.mend()
    used_again(place, log)


@ONE
def test_a_frozen_worker_delays_a_page_once(place: Place) -> None:
    """A request to a frozen worker waits ten seconds; then the other answers, also for a token.

    nginx does not send a form again, so a form that meets the frozen worker gets 504.
    """
    place.visitor("ann")  # who has signed in before
    time.sleep(1.1)  # until nginx uses each worker again
    worker = place.stack.parts["worker1"]
    url = place.stack.url
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with ThreadPoolExecutor(20) as pool:
            forms = pool.map(
                lambda _: requests.post(f"{url}/accounts/login/", timeout=20), range(8)
            )
            pages = pool.map(lambda _: requests.get(f"{url}/healthz", timeout=20), range(2))
            tokens = pool.map(lambda _: place.token(), range(2))
            assert [page.status_code for page in pages] == [200, 200]
            assert all(tokens)
            # Without a CSRF token, the worker that answers says 403.
            assert {form.status_code for form in forms} == {403, 504}
        assert 5 < time.monotonic() - began < 15
    finally:
        os.kill(worker.pid, signal.SIGCONT)


@contextmanager
def hanging(pid: int) -> Iterator[None]:
    """Stop a process and its children for a while, as a stalled disk does."""
    family = [pid, *descendants(pid)]
    for each in family:
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in family:
            os.kill(each, signal.SIGCONT)


@ONE
def test_a_database_that_hangs_is_an_error(place: Place) -> None:
    """A form gets an error in time, and `/readyz` says 503. Then everything works again."""
    urls = place.stack.worker_urls
    place.visitor("ann")  # who has signed in before
    with hanging(place.stack.parts["postgres"].pid), ThreadPoolExecutor() as pool:
        form = pool.submit(place.post, "ann", "/accounts/logout/")
        ready = [requests.get(f"{url}/readyz", timeout=30) for url in urls]
        assert [answer.status_code for answer in ready] == [503, 503]
        assert {answer.json()["channel_layer"] for answer in ready} == {"ok"}
        assert form.result().status_code in (500, 504)
    place.visitors.clear()  # nobody knows whether she is signed out
    assert wait_until(place.token, 30)


@ONE
@pytest.mark.parametrize("name", ["postgres", "redis1"])
def test_a_service_that_is_gone_is_an_error_within_seconds(place: Place, name: str) -> None:
    """The workers answer 503, and work again when the service is back with its data."""
    urls = place.stack.worker_urls
    place.stack.parts[name].stop(signal.SIGKILL)
    # Only one Redis of two is gone, and each check asks either of them, so check several times.
    times = 1 if name == "postgres" else 8
    asked = [requests.get(f"{url}/readyz", timeout=30) for url in urls * times]
    assert 503 in [answer.status_code for answer in asked]
    assert max(answer.elapsed.total_seconds() for answer in asked) < 2.5
    fields = {"username": "ben", "password": "wrong"}
    answer = requests.post(f"{urls[0]}/api/token/", json=fields, timeout=40)
    assert answer.status_code == 503
    assert "does not work at the moment" in answer.json()["error"]
    assert answer.elapsed.total_seconds() < 4
    place.mend()
    assert place.token()


@ONE
def test_a_stack_that_does_not_start_takes_its_own_parts_with_it(
    place: Place, place_for_stacks: Path
) -> None:
    """After a bad setting, the worker's words are shown, and only the other stack is left."""
    stack = QuickStack(workers=1, variables={"CHAT_MESSAGE_RATE": "many"})
    with pytest.raises(UserError, match=r"Cannot start: .*CHAT_MESSAGE_RATE"):
        stack.up()
    assert len(stack.parts) == 4
    assert [name for name, part in stack.parts.items() if part.running] == []
    assert [*place_for_stacks.iterdir()] == []
    assert not set(stack.ports.values()) & set(place.stack.ports.values())
    assert wait_until(place.is_ready, 30)
