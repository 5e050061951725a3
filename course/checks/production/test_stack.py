"""`make stack`: step 5 in production shape, part by part, with real faults."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import pytest
import redis
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from course.checks.production.prepared import prepared, sign_in
from course.core.ports import free_port
from course.core.processes import descendants, wait_until
from course.core.steps import ROOT
from course.core.terminal import UserError
from course.stack import (
    HOST,
    SERVERS,
    Part,
    Stack,
    find_programs,
    fit_nginx,
    is_alive,
    programs,
    within_reach,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stack needs Linux or macOS")

NGINX = (ROOT / "step05_deploy" / "deploy" / "nginx.conf").read_text()


# BOTH runs a test on both kinds of server, ONE on the default server alone.
BOTH = pytest.mark.parametrize("stack", SERVERS, indirect=True)
ONE = pytest.mark.parametrize("stack", SERVERS[:1], indirect=True)


@pytest.fixture(scope="module")
def stack(request) -> Iterator[Stack]:
    """Run a stack with two Redis servers, on each kind of worker in turn."""
    with Stack(server=request.param, shards=2, prepared=prepared()) as stack:
        yield stack


@pytest.fixture(autouse=True)
def whole(request) -> Iterator[None]:
    """After each test, start the parts that the test stopped."""
    yield
    if "stack" in request.fixturenames:
        stack = request.getfixturevalue("stack")
        for name, part in stack.parts.items():
            if not part.running:
                stack.start(name)
        assert wait_until(lambda: is_ready(stack), 30)


def is_ready(stack: Stack) -> bool:
    """Tell whether each worker is ready."""
    return all(requests.get(f"{url}/readyz", timeout=30).ok for url in stack.worker_urls)


@cache
def visitor(stack: Stack, name: str) -> requests.Session:
    """Return the browser of a person who has signed in."""
    return sign_in(stack, name)


def token(stack: Stack, name: str = "ann") -> str:
    """Return a new token for a person."""
    cookies = visitor(stack, name).cookies
    answer = requests.post(
        f"{stack.url}/api/token/",
        cookies=cookies,
        headers={"X-CSRFToken": cookies["csrftoken"]},
        timeout=20,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["token"]


def enter(stack: Stack, room: str, at: str | None = None, name: str = "ann"):
    """Return a person's socket, through nginx or at a worker's host."""
    return connect(f"ws://{at or stack.host}/ws/chat/{room}/?token={token(stack, name)}")


def wait_for(socket, text: str) -> None:
    """Read until a message comes; skip the history and the frame `caught_up`."""
    while json.loads(socket.recv(timeout=30)).get("message") != text:
        pass


def ask(port: int, path: str, source: str = HOST, **headers: str) -> tuple[int, dict]:
    """Send a wrong password from an address of this machine; return status and answer."""
    connection = http.client.HTTPConnection(HOST, port, source_address=(source, 0))
    body = urlencode({"username": "ben", "password": "wrong"})
    headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


@BOTH
def test_every_part_is_there(stack):
    """Each part has a process and an address, and the stack's properties lead to the parts."""
    assert list(stack.pids) == ["postgres", "redis1", "redis2", "worker1", "worker2", "nginx"]
    assert all(map(is_alive, stack.pids.values()))
    assert len({part.address for part in stack.parts.values()}) == 6
    for url in stack.redis_urls:
        assert redis.Redis.from_url(url).ping()
    assert requests.get(f"{stack.url}/readyz", timeout=30).json() == {
        "database": "ok",
        "channel_layer": "ok",
    }


@ONE
def test_nothing_listens_beyond_this_machine_or_without_a_password(stack):
    """Other users of the machine get neither the database nor Redis."""
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=stack.ports["redis1"], retry=None).ping()
    guess = stack.database_url.replace(stack.password, "guess")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(guess)
    if sys.platform == "linux":
        listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        sockets = re.findall(r"^ *\d+: (\w+):(\w+) \w+:0000 0A", listening, re.MULTILINE)
        ports = {f"{part.port:04X}" for part in stack.parts.values()}
        found = {(host, port) for host, port in sockets if port in ports}
        assert found == {("0100007F", port) for port in ports}


@ONE
def test_a_database_that_is_killed_leaves_nothing_in_memory(stack):
    """All that PostgreSQL keeps outside its processes lies in its folder, which is removed."""
    if sys.platform == "linux":
        shared = Path(f"/proc/{stack.pids['postgres']}/maps").read_text()
        assert "pg_dynshmem" in shared
        assert "/dev/shm/PostgreSQL" not in shared


@BOTH
def test_rooms_spread_over_all_redis_servers(stack):
    """Both Redis servers carry rooms; in each room, a message reaches the other worker."""
    rooms = [f"room{number}" for number in range(12)]
    one, two = (f"{HOST}:{stack.ports[name]}" for name in stack.worker_names)
    with ExitStack() as sockets:
        pairs = [
            [sockets.enter_context(enter(stack, room, at)) for at in (one, two)] for room in rooms
        ]
        carried = [
            len(redis.Redis.from_url(url).pubsub_channels("*group*")) for url in stack.redis_urls
        ]
        for room, (speaker, listener) in zip(rooms, pairs, strict=True):
            speaker.send(json.dumps({"message": f"hello {room}"}))
            wait_for(listener, f"hello {room}")
    assert min(carried) >= 2


@BOTH
def test_the_client_counts_not_nginx(stack):
    """Wrong passwords are counted by the browser's address, whatever headers it sends."""
    if sys.platform != "linux":
        pytest.skip("Only Linux has more addresses of its own than 127.0.0.1.")
    forged = [{"X-Forwarded-For": f"10.0.0.{number}"} for number in range(6)]
    answers = [ask(stack.port, "/api/token/", "127.0.0.2", **headers)[0] for headers in forged]
    assert answers == [401] * 5 + [429]
    forged = {"X-Forwarded-For": "127.0.0.2", "Forwarded": "for=127.0.0.2"}
    assert ask(stack.port, "/api/token/", "127.0.0.3", **forged)[0] == 401


@BOTH
def test_a_token_is_in_no_log(stack):
    """No log has a good token, a bad token, or a token whose request reaches no worker."""
    good = token(stack)
    with connect(f"ws://{stack.host}/ws/chat/lobby/?token={good}") as socket:
        socket.send('{"message": "hi"}')
        socket.recv(timeout=30)
    with connect(f"ws://{stack.host}/ws/chat/lobby/?token=bad-{good}"):
        pass
    requests.get(f"{stack.url}/chat/lobby/?token={good}", timeout=30)
    for name in stack.worker_names:
        stack.stop(name)
    with pytest.raises(InvalidStatus, match="502"):
        connect(f"ws://{stack.host}/ws/chat/lobby/?token={good}")
    assert "/ws/chat/lobby/" in (stack.folder / "access.log").read_text()
    files = [file for file in stack.folder.glob("*") if file.is_file()]
    assert len(files) >= 7
    assert [file.name for file in files if good in file.read_text(errors="replace")] == []


@ONE
def test_static_files_come_from_nginx(stack):
    """nginx packs static files, hides its version, and lets browsers keep hashed names for good."""
    page = requests.get(f"{stack.url}/accounts/login/", timeout=30)
    (sheet,) = re.findall(r'href="(/static/chat/chat\.[0-9a-f]{12}\.css)"', page.text)
    answer = requests.get(stack.url + sheet, timeout=30)
    assert answer.headers["Content-Type"] == "text/css"
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Server"] == "nginx"
    plain = requests.get(f"{stack.url}/static/chat/chat.css", timeout=30)
    assert plain.headers["Cache-Control"] == "public, max-age=300"
    admin = requests.get(f"{stack.url}/admin/login/", timeout=30).text
    (sheet, *_) = re.findall(r'href="(/static/admin/css/base\.[0-9a-f]{12}\.css)"', admin)
    assert requests.get(stack.url + sheet, timeout=30).status_code == 200


@ONE
def test_nobody_sees_workers_restart_one_after_the_other(stack):
    """Each request succeeds, even if worker2 stops while nginx still avoids worker1."""
    statuses = []
    with ThreadPoolExecutor(1) as pool:
        rolling = pool.submit(lambda: [stack.restart(name) for name in stack.worker_names])
        while not rolling.done():
            statuses.append(requests.get(f"{stack.url}/healthz", timeout=30).status_code)
        rolling.result()
    assert len(statuses) > 20
    assert set(statuses) == {200}


@ONE
def test_a_command_ends_when_it_is_done(stack):
    """The command closes its connection pool: since Python 3.13, an open pool takes 20 s to end."""
    code = "from chat.models import Message; print(Message.objects.count())"
    assert stack.manage("shell", "-v0", "-c", code).strip().isdecimal()


@BOTH
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nobody_sees_that_a_worker_is_gone(stack, number):
    """While a worker is gone, the other one answers. Then nginx uses both again."""
    stack.stop("worker1", number)
    for _ in range(6):
        assert requests.get(f"{stack.url}/healthz", timeout=30).status_code == 200
        with enter(stack, "lobby"):
            pass
    stack.start("worker1")
    log = stack.folder / "access.log"
    before = log.stat().st_size

    def used_again() -> bool:
        assert requests.get(f"{stack.url}/healthz", timeout=30).status_code == 200
        return stack.parts["worker1"].address in log.read_text()[before:]

    # nginx avoids a failed worker for a second, and then uses that worker more and more.
    assert wait_until(used_again, 30)


@ONE
def test_a_frozen_worker_delays_a_page_once(stack):
    """A request to a frozen worker waits ten seconds; then the other answers, also for a token."""
    time.sleep(1.1)
    stack.signal("worker1", signal.SIGSTOP)
    try:
        began = time.monotonic()
        with ThreadPoolExecutor() as pool:
            pages = pool.map(lambda _: requests.get(f"{stack.url}/healthz", timeout=20), range(2))
            tokens = pool.map(lambda _: token(stack), range(2))
            assert [page.status_code for page in pages] == [200, 200]
            assert all(tokens)
        assert 5 < time.monotonic() - began < 15
    finally:
        stack.signal("worker1", signal.SIGCONT)


@ONE
@pytest.mark.parametrize(
    ("part", "number"),
    [("postgres", None), ("postgres", signal.SIGKILL), ("redis1", signal.SIGKILL)],
)
def test_a_service_that_is_gone_is_an_error_within_seconds(stack, part, number):
    """The workers answer 503, and work again when the service is back with its data."""
    stack.stop(part, number)
    # Only one Redis of two is gone, and each check asks either of them, so check several times.
    times = 1 if part == "postgres" else 8
    asked = [requests.get(f"{url}/readyz", timeout=30) for url in stack.worker_urls * times]
    assert 503 in [answer.status_code for answer in asked]
    assert max(answer.elapsed.total_seconds() for answer in asked) < 2.5
    fields = {"username": "ben", "password": "wrong"}
    answer = requests.post(f"{stack.worker_urls[0]}/api/token/", json=fields, timeout=40)
    assert answer.status_code == 503
    assert "does not work at the moment" in answer.json()["error"]
    assert answer.elapsed.total_seconds() < 4
    stack.start(part)
    assert wait_until(lambda: is_ready(stack), 30)
    assert token(stack)


@ONE
def test_a_class_comes_back_at_once(stack):
    """The limits let two hundred sockets of one address in at the same moment."""
    people = ["ann", "ben", "cat"]
    for name in people:
        visitor(stack, name)
    with ThreadPoolExecutor(50) as pool, ExitStack() as sockets:
        # One person may have fifty sockets at a worker.
        comers = pool.map(lambda name: enter(stack, "lobby", name=name), people * 66)
        entered = [sockets.enter_context(socket) for socket in comers]
        entered[0].send('{"message": "all here?"}')
        for socket in entered:
            wait_for(socket, "all here?")


@ONE
def test_guesses_are_slowed_down(stack):
    """Somebody who tries one password after the other at the sign-in page is told to wait."""
    statuses = set()
    with ThreadPoolExecutor(8) as pool:
        tries = pool.map(
            lambda _: requests.post(f"{stack.url}/accounts/login/", timeout=20), range(60)
        )
        statuses = [answer.status_code for answer in tries]
    assert statuses.count(429) >= 10
    assert requests.get(f"{stack.url}/accounts/login/", timeout=30).status_code == 200


@ONE
def test_who_sends_slowly_is_cut_off(stack):
    """Half a request does not hold a connection for longer than some ten seconds."""
    assert set(re.findall(r"client_\w+_timeout (\w+);", NGINX)) == {"10s"}
    answer = requests.post(f"{stack.url}/api/token/", data="x" * 70_000, timeout=30)
    assert answer.status_code == 413


@ONE
def test_nginx_reloads_while_people_talk(stack):
    """nginx reads a changed configuration without closing a socket."""
    with enter(stack, "lobby") as before:
        stack.signal("nginx", signal.SIGHUP)
        with enter(stack, "lobby") as after:
            after.send('{"message": "still there?"}')
            wait_for(before, "still there?")


def test_a_part_that_does_not_start_takes_the_rest_with_it(place_for_stacks):
    """A worker with a bad setting stops the stack: its own words are shown, nothing is left."""
    stack = Stack(workers=1, variables={"CHAT_MESSAGE_RATE": "many"}, prepared=prepared())
    with pytest.raises(UserError, match=r"Cannot start: .*CHAT_MESSAGE_RATE"):
        stack.up()
    assert stack.pids == {}
    assert [*place_for_stacks.iterdir()] == []


@ONE
def test_two_stacks_side_by_side(stack):
    """Each stack has its own ports and folder. A stack that ends removes its own, no others."""
    with Stack(workers=1, prepared=prepared()) as other:
        family = {*other.pids.values(), *descendants(*other.pids.values())}
        assert len(family) > 4
        folder = other.folder
        assert requests.get(f"{stack.url}/readyz", timeout=30).ok
        assert requests.get(f"{other.url}/readyz", timeout=30).ok
    assert not any(map(is_alive, family))
    assert not folder.exists()
    assert requests.get(f"{stack.url}/readyz", timeout=30).ok


def test_programs_of_the_machine_come_first(tmp_path, monkeypatch):
    """Programs of the wheels come second. A PostgreSQL too old for Django is not used."""
    machine = tmp_path / "bin"
    machine.mkdir()
    for name in ("redis-server", "nginx", "initdb"):
        (machine / name).write_text("#!/bin/sh\n")
    (machine / "postgres").write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 9.6'\n")
    for file in machine.iterdir():
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{machine}{os.pathsep}/usr/bin{os.pathsep}/bin")
    found = find_programs(Path(sys.executable))
    assert found["redis"] == machine / "redis-server"
    assert found["nginx"] == machine / "nginx"
    assert found["postgres"] != machine / "postgres"
    (machine / "postgres").write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 17.2'\n")
    assert find_programs(Path(sys.executable))["postgres"] == machine / "postgres"


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    """The error names the missing program, and the command that installs it."""
    monkeypatch.setattr(programs, "on_path", lambda *names: [])
    with pytest.raises(UserError, match=r"There is no redis here.*sudo apt install redis-server"):
        find_programs(tmp_path / "bin" / "python")


def test_a_program_that_fails_is_told_with_its_words(tmp_path):
    """The error comes at once, not after a time-out, with the end of the program's log."""
    command = [sys.executable, "-c", "raise SystemExit('no room on the disk')"]
    part = Part("redis1", command, free_port(), tmp_path, tmp_path / "log")
    with pytest.raises(UserError, match=r"redis1 ended \(exit code 1\)[\s\S]*no room on the disk"):
        part.start()


def test_the_stacks_nginx_is_the_operators(tmp_path):
    """The two files differ only in the lines that are marked YOURS."""
    made = fit_nginx(NGINX, 8080, ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"], tmp_path)
    before, after = set(NGINX.splitlines()), set(made.splitlines())
    assert sorted(line.split()[0] for line in before - after) == [
        *("access_log", "alias", "listen", *["server"] * 4, "server_name")
    ]
    assert sorted(line.split()[0] for line in after - before) == [
        *("access_log", "alias", "listen", *["server"] * 6)
    ]
    with pytest.raises(ValueError, match="listen 80"):
        fit_nginx(NGINX.replace("listen 80;", "listen 81;"), 8080, [], tmp_path)


if os.name != "nt" and os.getuid() == 0:

    def test_root_runs_postgresql_also_from_a_folder_of_its_own(tmp_path):
        """If only root can reach a program, the user who runs PostgreSQL gets a copy of it."""
        program = tmp_path / "closed" / "bin" / "postgres"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\necho here")
        program.chmod(0o755)
        program.parent.parent.chmod(0o700)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            copy = within_reach(program, "nobody", Path(folder))
            Path(folder, "program").chmod(0o755)
            assert copy != program
            assert subprocess.check_output([copy], user="nobody") == b"here\n"
            assert within_reach(copy, "nobody", Path(folder)) == copy
