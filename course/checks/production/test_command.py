"""The command `make stack`: what it prints, what it starts again, and that it leaves nothing."""

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from websockets.exceptions import WebSocketException

from course.checks.production.prepared import Place, prepared
from course.checks.tools.conftest import run_course, sentence
from course.checks.tools.conftest import terminal as terminal
from course.checks.tools.terminals import Terminal
from course.core.ports import HOST, answers, free_port
from course.core.processes import descendants, wait_until
from course.core.steps import ROOT, find_step
from course.core.terminal import UserError
from course.stack import command
from course.stack.part import Part, is_alive
from course.stack.stack import STEP

# The command, but it begins with a prepared site and database.
QUICK_COMMAND = """
import sys
from course import cli
from course.checks.production.prepared import QuickStack
from course.stack import command
command.Stack = QuickStack
sys.exit(cli.main(["stack", *sys.argv[1:]]))
"""
# The command, but it lays mid-points out in another folder than the learner's.
PART_COMMAND = """
import pathlib, sys
from course import cli
from course.core import parts
real = parts.open_midpoint
parts.open_midpoint = lambda midpoint, root: real(midpoint, pathlib.Path(sys.argv[1]))
sys.exit(cli.main(["stack", *sys.argv[2:]]))
"""


class Shown:
    """The command in a terminal, once it is ready."""

    def __init__(self, terminal: Terminal, port: int) -> None:
        self.terminal = terminal
        self.port = port
        self.url = f"http://{HOST}:{port}"
        terminal.read(until="(Ctrl-C stops it)", seconds=90)
        self.family = descendants(terminal.pid)

    @property
    def seen(self) -> str:
        """All text so far, without colours."""
        return re.sub(r"\x1b\[\d*[mK]|\r", "", self.terminal.seen)

    @property
    def rows(self) -> list[tuple[str, int, str]]:
        """The lines of the parts so far: name, process id, and the rest."""
        found = re.findall(r"^.*?  (\w+) +(\d+)   127\.0\.0\.1:\d+(.*)$", self.seen, re.MULTILINE)
        return [(name, int(pid), rest.strip()) for name, pid, rest in found]

    def pid(self, name: str) -> int:
        """Return the process id that a part has now."""
        return [pid for row, pid, _ in self.rows if row == name][-1]

    def kill(self, name: str, until: str) -> None:
        """Kill a part as a learner would, and wait for a text in the output after the kill."""
        before = len(self.terminal.seen)
        os.kill(self.pid(name), signal.SIGKILL)
        self.terminal.read(until=until, after=before)

    def leaves_nothing(self) -> None:
        """Check that no process is left, and that the port is free."""
        self.family |= {pid for _, pid, _ in self.rows}
        assert wait_until(lambda: not any(map(is_alive, self.family)), 30)
        assert not answers(self.port)


@pytest.fixture
def start(terminal) -> Iterator:
    """Run the command in a terminal until it is ready."""
    started = []

    def start(*options: str, command: list[str] | None = None) -> Shown:
        words = command or [sys.executable, "-c", QUICK_COMMAND]
        port = free_port()
        started.append(terminal([*words, f"--port={port}", *options], ROOT))
        return Shown(started[-1], port)

    yield start
    for shown in started:
        # A failed test leaves the command running. SIGINT ends its parts too; SIGKILL would not.
        if shown.code is None:
            os.kill(shown.pid, signal.SIGINT)
            shown.wait()


def test_a_mid_point_runs_until_ctrl_c(start, place_for_stacks, tmp_path):
    """The command shows each process and the address; Ctrl-C leaves no process and no file.

    It runs the first mid-point with nginx, laid out in a learner's folder. Nothing is prepared.
    """
    shown = start("--part=3", command=[sys.executable, "-c", PART_COMMAND, str(tmp_path)])
    rows = {name: pid for name, pid, _ in shown.rows}
    assert list(rows) == ["postgres", "redis1", "worker1", "worker2", "nginx"]
    assert set(rows.values()) <= shown.family
    assert f"open {shown.url}/" in shown.seen
    # These answers need the names of static files, the files, and the tables in the database.
    page = requests.get(f"{shown.url}/accounts/login/", timeout=30)
    assert page.status_code == 200
    (sheet,) = re.findall(r'href="(/static/chat/chat\.[0-9a-f]{12}\.css)"', page.text)
    assert requests.get(shown.url + sheet, timeout=30).ok
    wrong = {"username": "ben", "password": "wrong"}
    assert requests.post(f"{shown.url}/api/token/", json=wrong, timeout=30).status_code == 401
    files = "chat/consumers.py"
    (site,) = place_for_stacks.glob("*/site")
    (laid_out,) = tmp_path.glob("midpoints/*-part03")
    code = (site / files).read_bytes()
    assert code == (laid_out / files).read_bytes() != (find_step(STEP).folder / files).read_bytes()
    shown.terminal.type("\x03")
    assert shown.terminal.wait() == 0
    assert "Stopped." in shown.seen
    assert "Traceback" not in shown.seen
    shown.leaves_nothing()
    assert [*place_for_stacks.iterdir()] == []


def say(place: Place, text: str) -> None:
    """Send a message, again and again, until the server sends it back."""

    def heard() -> bool:
        try:
            with place.join("lobby", after="0") as socket:
                socket.send(json.dumps({"message": text, "client_id": text}))
                while json.loads(socket.recv(timeout=30)).get("message") != text:
                    pass
        except (OSError, WebSocketException):
            return False
        return True

    assert wait_until(heard, 20)


def test_a_part_that_dies_is_started_again(start, place_for_stacks):
    """Each kind of part is killed and started again, and the room loses no message."""
    shown = start()
    password = (prepared() / "password").read_text()
    host = f"{HOST}:{shown.port}"
    place = Place(SimpleNamespace(url=shown.url, host=host, password=password))
    names = ["worker1", "redis1", "postgres", "nginx", "worker2"]
    for name in names:
        say(place, f"before {name}")
        killed = shown.pid(name)
        shown.kill(name, until="started again")
        *_, died, again = shown.rows
        assert died == (name, killed, "died: SIGKILL")
        assert again == (name, shown.pid(name), "started again")
        assert shown.pid(name) != killed
        say(place, f"after {name}")
    with place.join("lobby", after="0") as socket:
        texts = [json.loads(socket.recv(timeout=30)).get("message") for _ in range(11)]
    assert texts == [f"{when} {name}" for name in names for when in ("before", "after")] + [None]
    # After Ctrl-C in the second in which parts are down, no part starts any more.
    os.kill(shown.pid("nginx"), signal.SIGKILL)
    shown.kill("postgres", until="died: SIGKILL")
    shown.terminal.type("\x03")
    assert shown.terminal.wait() == 0
    shown.leaves_nothing()
    assert [*place_for_stacks.iterdir()] == []
    if sys.platform == "linux":
        memory = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
        assert str(shown.pid("postgres")) not in [line.split()[4] for line in memory]


def test_a_part_that_dies_again_and_again_ends_everything(start, place_for_stacks):
    """After five deaths in a minute, the command shows the end of the log and stops all."""
    shown = start("--workers=1")
    for _ in range(4):
        shown.kill("worker1", until="started again")
    shown.kill("worker1", until="died: SIGKILL")
    assert shown.terminal.wait() == 2
    assert "worker1 ended (SIGKILL). The end of its log:" in shown.seen
    assert "worker1 died 5 times in a minute, so all the others were stopped too." in shown.seen
    shown.leaves_nothing()
    assert [*place_for_stacks.iterdir()] == []


def deaths(folder: Path, monkeypatch: pytest.MonkeyPatch, within: float) -> tuple[int, str]:
    """Restart a part that ends at once, seven times at most; return the deaths and the error."""
    monkeypatch.setattr(command, "PAUSE", 0.0)
    monkeypatch.setattr(command, "WITHIN", within)
    words = [sys.executable, "-c", "raise SystemExit('no room on the disk')"]
    part = Part("redis1", words, free_port(), folder, folder / "log")
    part.launch()
    times = []
    for count in range(1, 8):
        part.process.wait()
        try:
            command.revive(part, times)
        except UserError as error:
            return count, str(error)
    part.process.wait()
    return count, ""


def test_deaths_are_counted_for_a_minute(tmp_path, monkeypatch, capsys):
    """The fifth death in a minute is the last; a part that dies now and then always restarts."""
    count, error = deaths(tmp_path, monkeypatch, within=60.0)
    assert count == 5
    assert error.startswith("redis1 ended (exit code 1). The end of its log:\n    no room on the")
    assert deaths(tmp_path, monkeypatch, within=0.0) == (7, "")
    assert "died: exit code 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"port_text": "http"}, "PORT must be a number"),
        ({"workers_text": "0"}, "WORKERS must be a number from 1 to 32, not '0'."),
        ({"shards_text": "x"}, "SHARDS must be a number from 1 to 8, not 'x'."),
        ({"server": "gunicorn"}, "SERVER must be uvicorn or daphne, not 'gunicorn'."),
        ({"part": "2"}, "Part 2 has no deploy/ yet. Choose a later part for make stack."),
    ],
)
def test_what_cannot_be_is_one_sentence(options, sentence):
    """A bad number, an unknown server, or a part too early is refused with one sentence."""
    usual = {"workers_text": "2", "server": "uvicorn", "shards_text": "1"}
    with pytest.raises(UserError) as refused:
        command.run(**{"port_text": str(free_port()), **usual, **options})
    assert str(refused.value).startswith(sentence)


def test_a_port_in_use_is_refused():
    """The command ends with one sentence, which names a free port."""
    with socket.create_server((HOST, 0)) as server:
        taken = server.getsockname()[1]
        line = sentence(run_course("stack", f"--port={taken}"))
    other = rf"Port {taken} is already in use: choose another, for example: make stack PORT=\d+"
    assert re.fullmatch(other, line)
