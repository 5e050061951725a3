"""The steps as running web sites, each in a copy of its own."""

import shutil
import signal
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from course.checks.warm import start_module
from course.core.manifest import chain, read_step
from course.core.ports import free_port
from course.core.processes import clean_environment, stop, wait_until
from course.core.steps import Step, all_steps
from course.stack.stack import WORKERS

SECONDS = 30  # longer than a start takes on a busy machine
PASSWORD = "correct horse battery"
# A password hash is slow on purpose, and a database waits for the disk; the tests need neither.
# Daphne cuts a connection off within a second after its close frame, when a busy browser has not
# always read the frame: ten seconds are enough.
SETTINGS = """
import daphne.server
from config.settings import *
Factory = daphne.server.WebSocketFactory
set_options = Factory.setProtocolOptions
Factory.setProtocolOptions = lambda *all, **options: set_options(
    *all, closeHandshakeTimeout=10, **options
)
options = DATABASES["default"].setdefault("OPTIONS", {})
options["init_command"] = options.get("init_command", "") + "; PRAGMA synchronous=OFF"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
"""
# uvicorn serves no static files: nginx does, in production.
APPLICATION = """
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from config.asgi import application as step_application
application = ASGIStaticFilesHandler(step_application)
"""
TAKE_NUMBERS = """
INSERT INTO chat_room (name, seq) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET seq = seq + excluded.seq
"""
LAST_NUMBER = "SELECT seq FROM chat_room WHERE name = ?"
ADD_MESSAGE = """
INSERT INTO chat_message (room, seq, user_id, text, sent_at)
VALUES (?, ?, (SELECT id FROM auth_user WHERE username = ?), ?, datetime())
"""


@dataclass(frozen=True)
class Edition:
    """The program of a site: a step, or its mid-point after a part, under Daphne or uvicorn.

    Under Daphne, which is `runserver`, the limit lets people write as fast as tests do. Under
    uvicorn the step's limit is low.
    """

    step: Step
    part: int = 0
    server: str = "daphne"

    @property
    def label(self) -> str:
        """The name of the edition's tests and of its folder."""
        part = f"-part{self.part:02}" if self.part else ""
        return self.step.label + part + (f"-{self.server}" if self.server != "daphne" else "")

    def copy(self, folder: Path) -> None:
        """Copy the files into a new folder."""
        edition = chain(self.step)[self.part] if self.part else read_step(self.step)
        for path, source in edition.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / path)


class Site:
    """An edition's server on a free port of 127.0.0.1, in a process of its own.

    It works in `folder`, on a copy of the files: the developer's database is never touched.
    """

    def __init__(self, edition: Edition, folder: Path) -> None:
        self.edition = edition
        self.step = edition.step
        self.folder = folder
        self.log = folder.with_suffix(".log")
        self.host = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.host}"
        self.sessions: dict[str, list] = {}
        self.process: Any = None
        self.environment = clean_environment() | {
            "DJANGO_SETTINGS_MODULE": "browser_settings",
            "PYTHONUNBUFFERED": "1",
        }
        if edition.server == "uvicorn":
            port = self.host.split(":")[1]
            application = {"config.asgi:application": "browser_asgi:application"}
            words = [application.get(word, word.format(port=port)) for word in WORKERS["uvicorn"]]
            self.program = [*words[1:], "--log-level", "warning"]
            self.environment |= {"CHAT_MESSAGE_RATE": "4", "CHAT_MESSAGE_BURST": "3"}
        else:
            self.program = ["manage", "runserver", "--noreload", self.host]
            self.environment |= {"CHAT_MESSAGE_RATE": "1000", "CHAT_MESSAGE_BURST": "1000"}

    def prepare(self) -> "Site":
        """Copy the files, make the database, start the server; return the site."""
        self.edition.copy(self.folder)
        (self.folder / "browser_settings.py").write_text(SETTINGS)
        (self.folder / "browser_asgi.py").write_text(APPLICATION)
        self.migrate()
        self.start()
        return self

    def migrate(self) -> None:
        """Make the database; raise AssertionError with the log if that fails."""
        assert self.run("manage", "migrate", "-v0").wait(SECONDS) == 0, self.log.read_text()

    def run(self, *words: str) -> Any:
        """Run a module; return its process."""
        return start_module(words, self.log, self.folder, self.environment)

    def answers(self) -> bool:
        """Tell whether something listens on the site's port."""
        try:
            socket.create_connection(("127.0.0.1", int(self.host.split(":")[1])), 1).close()
        except OSError:
            return False
        return True

    def start(self) -> None:
        """Start the server and wait for an answer; raise AssertionError with the log if it ends."""
        process = self.process = self.run(*self.program)
        wait_until(lambda: process.poll() is not None or self.answers(), SECONDS, pause=0.02)
        assert process.poll() is None, self.log.read_text()

    def kill(self) -> None:
        """End the server without a warning, as a power failure does."""
        if self.process:
            stop(self.process, grace=0.0)

    def stop(self) -> None:
        """End the server as an operator does, and wait until it is gone."""
        self.process.terminate()
        self.process.wait(SECONDS)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Suspend the server's process for a while; its sockets stay open."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def has_logged(self, end: str, times: int) -> bool:
        """Wait for lines of the log that end with `end`; tell whether this many come."""
        return wait_until(lambda: self.logged(end) >= times, SECONDS, pause=0.02)

    def logged(self, end: str) -> int:
        """Return how many lines that end with `end` the server has logged since its start."""
        return self.log.read_text().count(f"{end}\n")

    @property
    def database(self) -> Path:
        """The file with the site's database."""
        return self.folder / "db.sqlite3"

    def deactivate(self, username: str) -> None:
        """Deactivate a user in the database only: the running server gets no event."""
        with closing(sqlite3.connect(self.database)) as database, database:
            database.execute("UPDATE auth_user SET is_active = 0 WHERE username = ?", [username])

    def say_numbers(self, room: str, username: str, count: int) -> list[str]:
        """Store the messages "number 1" to `count`, as another server would, and return them."""
        numbers = [f"number {number}" for number in range(1, count + 1)]
        with closing(sqlite3.connect(self.database)) as database, database:
            database.execute(TAKE_NUMBERS, [room, count])
            (last,) = database.execute(LAST_NUMBER, [room]).fetchone()
            first = last - count + 1
            said = [(room, seq, username, text) for seq, text in enumerate(numbers, first)]
            database.executemany(ADD_MESSAGE, said)
        return numbers

    @property
    def has_rooms(self) -> bool:
        """Whether the site has rooms (from step 2) instead of an echo."""
        return self.step.number >= 2

    @property
    def remembers(self) -> bool:
        """Whether the site stores messages (from step 3)."""
        return self.step.number >= 3

    @property
    def knows_people(self) -> bool:
        """Whether people sign in (from step 4)."""
        return self.step.number >= 4


# The last step, whose page connects again by itself, and the part that adds the reconnection. The
# page of the next part is the last step's page.
LAST = all_steps()[-1]
DAPHNE, UVICORN = Edition(LAST), Edition(LAST, server="uvicorn")
PART_5 = Edition(LAST, part=5)


def sites(*editions: Edition) -> pytest.MarkDecorator:
    """Run a test on the site of each of these editions, in turn."""
    return pytest.mark.parametrize(
        "site", editions, indirect=True, ids=lambda edition: edition.label
    )


def steps(first: int = 1, last: int = 99) -> pytest.MarkDecorator:
    """Run a test on the site of each of these steps, in turn."""
    return sites(*(Edition(step) for step in all_steps() if first <= step.number <= last))
