"""The command `make stack`: what it prints, what it starts again, and that it leaves nothing."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from course.checks.production.prepared import prepared, sign_in
from course.checks.tools.conftest import clean, sentence
from course.checks.tools.conftest import terminal as terminal
from course.checks.tools.terminals import Terminal
from course.core.parts import find_midpoint, lay_out
from course.core.ports import answers, free_port
from course.core.processes import descendants, wait_until
from course.core.steps import ROOT, find_step
from course.core.terminal import UserError
from course.stack import HOST, STEP, Part, Stack, command, is_alive

STACK_COMMAND = [sys.executable, "-m", "course", "stack"]
# The same command, but it begins with a prepared site and database.
QUICK_COMMAND = """
import functools, pathlib, sys
from course import cli
from course.stack import command
prepared = pathlib.Path(sys.argv[1])
command.Stack = functools.partial(command.Stack, prepared=prepared)
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
        words = command or [sys.executable, "-c", QUICK_COMMAND, str(prepared())]
        port = free_port()
        started.append(terminal([*words, f"--port={port}", *options], ROOT))
        return Shown(started[-1], port)

    yield start
    for shown in started:
        # A failed test leaves the command running. SIGINT ends its parts too; SIGKILL would not.
        if shown.code is None:
            os.kill(shown.pid, signal.SIGINT)
            shown.wait()


def test_ctrl_c_leaves_nothing(start, place_for_stacks):
    """The command shows each process and the address; Ctrl-C leaves no process and no file."""
    shown = start(command=STACK_COMMAND)
    rows = {name: pid for name, pid, _ in shown.rows}
    assert list(rows) == ["postgres", "redis1", "worker1", "worker2", "nginx"]
    assert set(rows.values()) <= shown.family
    assert f"open {shown.url}/" in shown.seen
    # These answers need the names of static files, and the tables in the database.
    assert requests.get(f"{shown.url}/accounts/login/", timeout=30).status_code == 200
    wrong = {"username": "ben", "password": "wrong"}
    assert requests.post(f"{shown.url}/api/token/", json=wrong, timeout=30).status_code == 401
    shown.terminal.type("\x03")
    assert shown.terminal.wait() == 0
    assert "Stopped." in shown.seen
    assert "Traceback" not in shown.seen
    shown.leaves_nothing()
    assert [*place_for_stacks.iterdir()] == []


class Room:
    """Ann in a room of the stack. Ann connects again when her connection is lost."""

    def __init__(self, shown: Shown) -> None:
        password = (prepared() / "password").read_text()
        session = sign_in(SimpleNamespace(url=shown.url, password=password), "ann")
        self.headers = {"Cookie": f"sessionid={session.cookies['sessionid']}", "Origin": shown.url}
        self.url = f"{shown.url.replace('http', 'ws', 1)}/ws/chat/lobby/?after=0"

    def say(self, text: str) -> None:
        """Send a message, again and again, until the server sends it back."""
        frame = json.dumps({"message": text, "client_id": text})

        def heard() -> bool:
            try:
                with connect(self.url, additional_headers=self.headers, open_timeout=30) as socket:
                    socket.send(frame)
                    while json.loads(socket.recv(timeout=30)).get("message") != text:
                        pass
            except (OSError, WebSocketException):
                return False
            return True

        assert wait_until(heard, 20)

    def read(self) -> list[str]:
        """Return the texts of all messages in the room."""
        with connect(self.url, additional_headers=self.headers) as socket:
            frames = iter(lambda: json.loads(socket.recv(timeout=30)), None)
            texts = []
            while "message" in (frame := next(frames)):
                texts.append(frame["message"])
            return texts


def test_a_part_that_dies_is_started_again(start, place_for_stacks):
    """Each kind of part is killed and started again, and the room loses no message."""
    shown = start()
    room = Room(shown)
    names = ["worker1", "redis1", "postgres", "nginx", "worker2"]
    for name in names:
        room.say(f"before {name}")
        killed = shown.pid(name)
        shown.kill(name, until="started again")
        *_, died, again = shown.rows
        assert died == (name, killed, "died: SIGKILL")
        assert again == (name, shown.pid(name), "started again")
        assert shown.pid(name) != killed
        room.say(f"after {name}")
    said = [f"{when} {name}" for name in names for when in ("before", "after")]
    assert room.read() == said
    # After Ctrl-C in the second in which parts are down, no part starts any more.
    shown.kill("postgres", until="died: SIGKILL")
    shown.kill("nginx", until="died: SIGKILL")
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
    keeper = command.Keeper(SimpleNamespace(dead=lambda: [part], parts={"redis1": part}))
    for count in range(1, 8):
        part.process.wait()
        try:
            keeper.look()
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


def refused(*options: str) -> str:
    """Return the sentence with which the command refuses these options."""
    command = [*STACK_COMMAND, *options]
    return sentence(
        subprocess.run(command, cwd=ROOT, env=clean(), capture_output=True, text=True, timeout=30)
    )


def test_what_cannot_be_is_one_sentence():
    """A port in use, a bad number or an unknown server is refused with one sentence."""
    with ExitStack() as sockets:
        taken = sockets.enter_context(socket.create_server((HOST, 0))).getsockname()[1]
        assert re.fullmatch(
            rf"Port {taken} is already in use: choose another, for example: make stack PORT=\d+",
            refused(f"--port={taken}"),
        )
    assert refused("--port=http").startswith("PORT must be a number")
    assert refused("--workers=0") == "WORKERS must be a number from 1 to 32, not '0'."
    assert refused("--shards=x") == "SHARDS must be a number from 1 to 8, not 'x'."
    assert refused("--server=gunicorn") == "SERVER must be uvicorn or daphne, not 'gunicorn'."
    assert refused("--part=2") == ("Part 2 has no deploy/ yet. Choose a later part for make stack.")


def test_a_mid_point_runs(tmp_path):
    """The stack runs the first mid-point with nginx, laid out in a learner's folder."""
    step = find_step(STEP)
    lay_out(find_midpoint(step, "3"), tmp_path)
    code, final = (folder / "chat" / "consumers.py" for folder in (tmp_path, step.folder))
    assert code.read_bytes() != final.read_bytes()
    with Stack(workers=1, code=tmp_path) as stack:
        assert requests.get(f"{stack.url}/healthz", timeout=30).ok
        assert (stack.site / "chat" / "consumers.py").read_bytes() == code.read_bytes()
