"""Provoke the errors of docs/errors.md: sites with mistakes, their servers, and the page itself."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from course.checks.warm import start_module
from course.core.ports import HOST, answers, free_port
from course.core.processes import clean_environment, start_job, stop, wait_until
from course.core.steps import ROOT, copy_files, find_step, step_files
from course.stack.programs import find_programs
from course.stack.services import redis

PAGE = ROOT / "docs" / "errors.md"
INSIDE = Path(__file__).parent / "inside"
SECONDS = 40  # longer than anything takes on a busy machine
ENTRY = re.compile(r"^### (?P<title>.*)\n(?P<body>(?:(?!##).*\n?)*)", re.MULTILINE)
TEST = re.compile(r"\[`(test_\w+)`\]\(\.\./(course/checks/docs/test_\w+\.py)\)")
TESTS = re.compile(r"^def (test_\w+)\(heading", re.MULTILINE)
PASSWORD = "correct horse battery"
LAYERS = """
from . import layers

CHANNEL_LAYERS |= {name.lower(): getattr(layers, name) for name in dir(layers) if name.isupper()}
LOGGING["loggers"]["channels_redis"] = {"handlers": ["console"], "level": "INFO"}
"""
PREPARE = f"""
from django.core.management import call_command
from django.contrib.auth import get_user_model
call_command("migrate", verbosity=0)
get_user_model().objects.create_user("ann", password="{PASSWORD}")
"""


def entries() -> dict[str, str]:
    """Return what each entry of the page says, by its heading."""
    return {found["title"]: found["body"] for found in ENTRY.finditer(PAGE.read_text("utf-8"))}


class Heading:
    """The heading of the entry that links a test.

    In backquotes it is what a person sees, and `…` stands for what differs; otherwise it describes.
    """

    def __init__(self, test: str) -> None:
        found = [title for title, body in entries().items() if f"[`{test}`](" in body]
        assert len(found) == 1, f"{len(found)} entries of {PAGE.name} link {test}."
        self.is_seen = not found[0].startswith("`")
        self.pattern = ".*".join(map(re.escape, found[0].strip("`").split("…")))

    def is_in(self, text: str) -> bool:
        """Tell whether a text has these words; the page has the port 6379 for any port."""
        shown = re.sub(r"(127\.0\.0\.1(:|', ))\d+", r"\g<1>6379", text)
        self.is_seen = bool(re.search(self.pattern, shown)) or self.is_seen
        return bool(re.search(self.pattern, shown))


@pytest.fixture
def heading(request: pytest.FixtureRequest) -> Iterator[Heading]:
    """Return the heading of the test's entry; it must have been seen at the end."""
    found = Heading(request.node.name)
    yield found
    assert found.is_seen, "The test did not see the heading of its entry."


@dataclass
class Site:
    """A copy of step 4 with mistakes, and its folder."""

    folder: Path

    def settings(self, name: str, text: str) -> str:
        """Write other settings; return the module's name."""
        module = self.folder / "config" / f"{name}.py"
        module.write_text(f"from config.settings import *\n{text}\n", "utf-8")
        return f"config.{name}"

    def run(self, *words: str, settings: str = "config.settings") -> str:
        """Run Python with these arguments to its end; return what the terminal shows."""
        log = self.folder / "terminal.log"
        env = clean_environment() | {"DJANGO_SETTINGS_MODULE": settings}
        process = start_job([sys.executable, *words], log, self.folder, env)
        try:
            process.wait(SECONDS)
        finally:
            stop(process)
        return log.read_text("utf-8")


class Server:
    """A server of a site: its log, and its clients."""

    def __init__(self, site: Site, *words: str, settings: str = "config.settings") -> None:
        self.port = free_port()
        self.host = f"{HOST}:{self.port}"
        self.origin = f"http://{self.host}"
        self.log = site.folder / f"{self.port}.log"
        env = clean_environment() | {"DJANGO_SETTINGS_MODULE": settings}
        command = [word.format(port=self.port) for word in words]
        self.process = start_module(command, self.log, site.folder, env)
        wait_until(lambda: self.process.poll() is not None or answers(self.port), SECONDS)
        assert self.process.poll() is None, self.text

    @property
    def text(self) -> str:
        """The text in the terminal of the server."""
        return self.log.read_text("utf-8", errors="replace")

    def shows(self, condition: Callable[[str], bool]) -> bool:
        """Wait until the terminal shows something; return False if it never does."""
        return wait_until(lambda: condition(self.text), SECONDS)

    def open(self, path: str, **options) -> ClientConnection:
        """Return a socket that comes from the site's own page."""
        options = {"origin": self.origin, "open_timeout": SECONDS, **options}
        return connect(f"ws://{self.host}/ws/{path}", **options)

    def answer(self, path: str, frame: str = "hello", **options) -> str | int | None:
        """Send a frame; return the answer, or the close code; None if there is no close frame."""
        with self.open(path, **options) as socket:
            socket.send(frame)
            try:
                return socket.recv(SECONDS)
            except ConnectionClosed as error:
                return error.rcvd and error.rcvd.code

    def refusal(self, path: str, **options) -> int:
        """Open a socket that is refused; return the status of the answer."""
        with pytest.raises(InvalidStatus) as caught:
            self.open(path, **options)
        return caught.value.response.status_code

    def stop(self) -> None:
        """End the process."""
        stop(self.process, grace=0)


RUNSERVER = ("manage", "runserver", "--noreload", "{port}")
UVICORN = ("uvicorn", "config.asgi:application", "--host", HOST, "--port", "{port}")


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Iterator[Site]:
    """Make a site of all mistakes, with a Redis and a user."""
    if os.name == "nt":
        pytest.skip("Redis needs Linux or macOS")
    folder = tmp_path_factory.mktemp("mistakes")
    port = free_port()
    layer = redis("redis", find_programs(Path(sys.executable))["redis"], folder, port, '""')
    layer.start()
    site = Site(folder / "site")
    step = find_step("4").folder
    copy_files(step_files(step), step, site.folder)
    for name, place in {"mistakes.py": "chat", "layers.py": "config"}.items():
        text = (INSIDE / name).read_text("utf-8").replace("6379", str(port))
        (site.folder / place / name).write_text(text, "utf-8")
    for name, text in {
        "config/settings.py": LAYERS,
        "config/urls.py": "\nfrom chat.mistakes import urlpatterns as more\nurlpatterns += more\n",
        "chat/routing.py": "\nfrom .mistakes import ROUTES\nwebsocket_urlpatterns += ROUTES\n",
    }.items():
        with (site.folder / name).open("a", encoding="utf-8") as file:
            file.write(text)
    assert site.run("manage.py", "shell", "-v", "0", "-c", PREPARE) == ""
    yield site
    layer.stop()


def serve(site: Site, *words: str, settings: str = "config.settings") -> Iterator[Server]:
    """Run a server until the tests are over."""
    server = Server(site, *words, settings=settings)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def daphne(site: Site) -> Iterator[Server]:
    """Run the site as a learner does: Daphne's `runserver`."""
    yield from serve(site, *RUNSERVER)


@pytest.fixture(scope="session")
def uvicorn(site: Site) -> Iterator[Server]:
    """Run the site on uvicorn."""
    yield from serve(site, *UVICORN)


@pytest.fixture(scope="session")
def other(site: Site) -> Iterator[Server]:
    """Run the site with larger frames, another host, and no channel layer."""
    text = 'del CHANNEL_LAYERS\nALLOWED_HOSTS += ["app.example"]\n'
    text += "DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE = DAPHNE_WEBSOCKET_MAX_FRAME_SIZE = 2 * 1024 * 1024"
    yield from serve(site, *RUNSERVER, settings=site.settings("other", text))
