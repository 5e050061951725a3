"""The servers that are measured side by side, each in turn, with one database and one Redis."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from course.core.ports import free_port
from course.core.steps import ROOT, copy_files, step_files
from course.stack import WORKERS, Part, Stack

ACCOUNTS = 500
SERVERS = {"daphne": "Daphne", "uvicorn": "uvicorn"}  # the names as their projects write them


@dataclass(frozen=True)
class Contender:
    """A server: two words for the table, its command, its code, and what it can do."""

    name: str
    title: tuple[str, str]
    command: tuple[str, ...]
    settings: str = "config.settings"
    code: Path | None = None  # a folder of step 5; None is step 5 itself
    stores: bool = True
    greets: bool = True  # a client that has joined gets the frame `caught_up`
    # Whether everybody gets a room's messages in the same order, that of their numbers. In the
    # tutorial pattern, one message can overtake another between storing and sending.
    room_order: bool = True


def tutorial(name: str, server: str, settings: str = "config.settings") -> Contender:
    """Return the pattern of the tutorials on a server; the settings decide the channel layer."""
    application = "course.bench.inside.tutorial"
    command = tuple(word.replace("config.asgi", application) for word in WORKERS[server])
    title = ("tutorial", SERVERS[server])
    return Contender(name, title, command, settings, greets=False, room_order=False)


def step(name: str, title: str, server: str, code: Path | None = None) -> Contender:
    """Return step 5, or a mid-point of it, on a server."""
    return Contender(name, (title, SERVERS[server]), tuple(WORKERS[server]), code=code)


LIMIT = ("-m", "course.bench.raw", "{port}")
CONTENDERS = (
    Contender("raw", ("limit", "websockets"), LIMIT, stores=False, greets=False),
    tutorial("tutorial", "daphne", "course.bench.inside.core_layer"),
    tutorial("pubsub", "uvicorn"),
    step("daphne", "step 5", "daphne"),
    step("uvicorn", "step 5", "uvicorn"),
)


class Yard(Stack):
    """The database and the Redis of a stack, for one server at a time."""

    def __init__(self, python: Path, code: Path | None = None) -> None:
        # The limit for people would slow the load down.
        unlimited = {"CHAT_MESSAGE_RATE": "1000000", "CHAT_MESSAGE_BURST": "1000000"}
        super().__init__(workers=1, variables=unlimited, python=python, code=code)
        self.cookies: list[str] = []

    def lay_out(self, programs: dict[str, Path], doing: Callable[[str], None]) -> None:
        """Copy the code, and add the two services that all servers need."""
        copy_files(step_files(self.code), self.code, self.site)
        self.add_services(programs)

    def fill(self) -> None:
        """Make the tables, accounts with sessions, and a history."""
        self.manage("migrate", "--verbosity=0")
        self.cookies = json.loads(self.inside("accounts", str(ACCOUNTS)))

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a worker, which can import the course as well."""
        more = {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "config.settings"}
        return super().environment | more

    def inside(self, module: str, *arguments: str) -> bytes:
        """Run a module of `course.bench.inside` in the site; return what it prints."""
        command = [str(self.python), "-m", f"course.bench.inside.{module}", *arguments]
        return subprocess.check_output(
            command, cwd=self.site, env=self.environment, stdin=subprocess.DEVNULL
        )

    def serve(self, contender: Contender) -> Part:
        """Start a contender alone, in a fresh process; raise UserError if it does not start."""
        env = self.environment | {"DJANGO_SETTINGS_MODULE": contender.settings}
        # `down` ends every part with the name of a worker.
        name = f"worker-{contender.name}"
        part = self.add_worker(name, list(contender.command), free_port(), env)
        part.start()
        return part
