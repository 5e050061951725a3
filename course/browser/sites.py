"""The steps as running web sites, each in a copy of its own."""

import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from course.processes import clean_environment, start_job, stop, wait_until
from course.run import free_port
from course.steps import Step, all_steps, copy_files, step_files

SECONDS = 30  # longer than a start takes on a busy machine
PASSWORD = "correct horse battery"
# A password hash is slow on purpose, and a database waits for the disk; here they need not.
SETTINGS = """
from config.settings import *
options = DATABASES["default"].setdefault("OPTIONS", {})
options["init_command"] = options.get("init_command", "") + "; PRAGMA synchronous=OFF"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
"""
# The first start makes the database too. A process for each would import the same twice.
FIRST_START = """
import sys
import django
from django.core.management import call_command, execute_from_command_line
django.setup()
call_command("migrate", verbosity=0)
execute_from_command_line(sys.argv)
"""


class Site:
    """A step's development server on a free port of 127.0.0.1, in a process of its own.

    It works in `folder`, on a copy of the step's files: the developer's database is never touched.
    """

    def __init__(self, step: Step, folder: Path) -> None:
        self.step = step
        self.folder = folder
        self.log = folder.with_suffix(".log")
        self.host = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.host}"
        self.sessions: dict[str, list] = {}
        self.process: subprocess.Popen | None = None
        self.environment = clean_environment() | {
            "DJANGO_SETTINGS_MODULE": "browser_settings",
            "PYTHONUNBUFFERED": "1",
            # The tests write faster than people do.
            "CHAT_MESSAGE_RATE": "1000",
            "CHAT_MESSAGE_BURST": "1000",
        }

    def prepare(self) -> "Site":
        """Copy the step, make its database, start its server; return the site."""
        copy_files(step_files(self.step.folder), self.step.folder, self.folder)
        (self.folder / "browser_settings.py").write_text(SETTINGS)
        self.start("-c", FIRST_START)
        return self

    def manage(self, *arguments: str) -> str:
        """Run one of the step's management commands; return its output."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def answers(self) -> bool:
        """Tell whether something listens on the site's port."""
        try:
            socket.create_connection(("127.0.0.1", int(self.host.split(":")[1])), 1).close()
        except OSError:
            return False
        return True

    def start(self, *program: str) -> None:
        """Start the server and wait until it answers; AssertionError with its log if it ends.

        `program` takes the arguments of `manage.py`, which it is by default.
        """
        program = program or ("manage.py",)
        command = [sys.executable, *program, "runserver", "--noreload", self.host]
        process = self.process = start_job(command, self.log, self.folder, self.environment)
        wait_until(lambda: process.poll() is not None or self.answers(), SECONDS, pause=0.02)
        assert process.poll() is None, self.log.read_text()

    def kill(self) -> None:
        """End the server without a warning, as a power failure does."""
        if self.process:
            stop(self.process, grace=0.0)

    def says(self, line: str, times: int = 1) -> bool:
        """Tell whether the server comes to log `line` at least this many times."""
        return wait_until(
            lambda: self.log.read_text().splitlines().count(line) >= times, 5, pause=0.02
        )

    @property
    def database(self) -> Path:
        """The file with the site's database."""
        return self.folder / "db.sqlite3"

    def deactivate(self, username: str) -> None:
        """Switch a user off, in the database alone: nobody tells the server."""
        with sqlite3.connect(self.database) as database:
            database.execute("UPDATE auth_user SET is_active = 0 WHERE username = ?", [username])
        database.close()

    @property
    def has_rooms(self) -> bool:
        """Whether people meet here (step 2), or talk to an echo."""
        return self.step.number >= 2

    @property
    def remembers(self) -> bool:
        """Whether messages are stored (step 3)."""
        return self.step.number >= 3

    @property
    def knows_people(self) -> bool:
        """Whether people sign in (step 4)."""
        return self.step.number >= 4


def steps(first: int = 1, last: int = 99) -> pytest.MarkDecorator:
    """Run a test on the site of each of these steps, in turn."""
    chosen = [step for step in all_steps() if first <= step.number <= last]
    return pytest.mark.parametrize("site", chosen, indirect=True, ids=lambda step: step.label)
