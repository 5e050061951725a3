"""What is measured side by side: four servers, each in turn, on one database and one Redis."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from course.run import HOST
from course.stack import WORKERS, Part, Stack, inner_port
from course.steps import ROOT, copy_files, step_files

ACCOUNTS = 500


@dataclass(frozen=True)
class Contender:
    """A server: how the table calls it, its command, and what it can do."""

    name: str
    title: str
    command: tuple[str, ...]
    settings: str = "config.settings"
    stores: bool = True
    # Whether everybody in a room gets its messages in the same order, that of their numbers. In
    # the pattern of the tutorials, two messages overtake each other between storing and sending.
    room_order: bool = True


TUTORIAL = [
    "course.bench.inside.tutorial_asgi:application" if word == "config.asgi:application" else word
    for word in WORKERS["daphne"]
]
CONTENDERS = (
    Contender("raw", "websockets", ("-m", "course.bench.raw", "{port}"), stores=False),
    Contender(
        "tutorial",
        "tutorial",
        tuple(TUTORIAL),
        settings="course.bench.inside.tutorial_settings",
        room_order=False,
    ),
    Contender("daphne", "Daphne", tuple(WORKERS["daphne"])),
    Contender("uvicorn", "uvicorn", tuple(WORKERS["uvicorn"])),
)


class Yard(Stack):
    """The database and the Redis of a stack, for one server at a time."""

    def __init__(self, python: Path) -> None:
        # Nobody is slowed down for being a machine.
        unlimited = {"CHAT_MESSAGE_RATE": "1000000", "CHAT_MESSAGE_BURST": "1000000"}
        super().__init__(workers=1, variables=unlimited, python=python)
        self.cookies: list[str] = []

    def lay_out(self, programs: dict[str, Path], doing: Callable[[str], None]) -> None:
        """Copy the step, and list the two parts that all servers need."""
        copy_files(step_files(self.code), self.code, self.site)
        doing("Making a database")
        self.add_services(programs)

    def fill(self) -> None:
        """Make the tables, accounts that are signed in, and a history."""
        self.manage("migrate", "--verbosity=0")
        self.cookies = json.loads(self.inside("accounts", str(ACCOUNTS)))

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a worker, which can import the course as well."""
        return super().environment | {
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }

    def inside(self, module: str, *arguments: str) -> bytes:
        """Run a module of `course.bench.inside` in the site; return what it prints."""
        return subprocess.run(
            [str(self.python), "-m", f"course.bench.inside.{module}", *arguments],
            cwd=self.site,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout

    def serve(self, contender: Contender) -> Part:
        """Start a contender in a fresh process, alone; UserError if it does not start."""
        variables = {"DJANGO_SETTINGS_MODULE": contender.settings}
        # `down` ends whatever is called a worker.
        name = f"worker-{contender.name}"
        env = self.environment | variables
        part = self.add_worker(name, list(contender.command), inner_port(), env)
        part.start()
        return part


def address(part: Part) -> dict[str, object]:
    """Return what a load has to know about a server."""
    return {"host": HOST, "port": part.port, "pid": part.pid}
