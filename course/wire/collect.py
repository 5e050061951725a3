"""Collect the events of all traced processes, and serve the page that draws them."""

import json
import secrets
import threading
import time
from bisect import insort
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from course.core.ports import HOST, free_port, is_free
from course.core.processes import wait_until
from course.core.terminal import UserError, say
from course.wire.events import Event, fold
from course.wire.picture import TOP, draw, svg, table, terminal_line

# Only the script with the nonce runs, and each start of the course has a new one.
PAGE = Path(__file__).with_name("page.html").read_text("utf-8")
PAGE = PAGE.replace("NONCE", secrets.token_urlsafe(16))
MOST = 20_000  # events that are kept for the page; then half of them are forgotten
DRAWN = 300  # arrows in one picture


class Collector(ThreadingHTTPServer):
    """Takes events from traced processes, prints and records them, and draws them for the page.

    The page has `port` if that is free. Raises UserError if the recording `file` cannot be written.
    """

    daemon_threads = True

    def __init__(self, port: int, file: Path | None = None) -> None:
        try:
            if file:
                file.write_text("")
                file.chmod(0o600)  # nobody else on this machine may read what people wrote
        except OSError as error:
            reason = f"{file} cannot be written ({error.strerror}): choose another."
            raise UserError(reason) from None
        super().__init__((HOST, port if port <= 65535 and is_free(port) else free_port()), Handler)
        self.url = f"http://{HOST}:{self.server_port}/"
        self.file = file
        self.password = secrets.token_urlsafe(16)
        self.started = time.time()
        self.lock = threading.Lock()
        self.events: list[Event] = []  # by time: those of several workers may mix
        self.processes: set[object] = set()  # that are traced now
        threading.Thread(target=self.serve_forever, args=[0.1], daemon=True).start()

    def __exit__(self, *error: Any) -> None:
        """Stop; the step has ended, but its last events may not be read yet."""
        wait_until(lambda: not self.processes, 1.0, pause=0.01)
        self.shutdown()
        super().__exit__(*error)

    def variables(self, worker: str = "") -> dict[str, str]:
        """Return the environment variables with which a step's process finds this collector."""
        return {
            "COURSE_WIRE": f"{self.server_port} {self.password} {self.started}",
            "COURSE_WORKER": worker,
            "DJANGO_SETTINGS_MODULE": "course.wire.inside.settings",
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        }

    def put(self, event: Event) -> None:
        """Add an event that has happened just now."""
        with self.lock:
            if len(self.events) == MOST:
                del self.events[: MOST // 2]
            insort(self.events, event, key=lambda event: event.at)
            if self.file:
                with self.file.open("a", encoding="utf-8", newline="\n") as recording:
                    print(event.to_json(), file=recording)
            # Tasks of step 5 look at the database every two seconds, and would fill the terminal.
            if event.kind != "database" or "task " not in event.source:
                say(terminal_line(event))

    def alive(self, worker: str) -> tuple[int, set[str]]:
        """Return how many sockets a worker has had, and which of its consumers have not ended."""
        events = [event for event in list(self.events) if event.source.startswith(worker)]
        begun = [event.target for event in events if event.kind == "connect"]
        return len(begun), {*begun} - {event.source for event in events if event.kind == "end"}

    def picture(self, known: int, start: int, stop: int, width: int) -> str:
        """Return the diagram of the events from number `start` to before `stop`, as JSON.

        A negative `stop` means all events. If there are still `known` events, return "null".
        """
        events = list(self.events)
        if len(events) == known:
            return "null"
        shown = events[start : None if stop < 0 else stop]
        rows, status = fold(shown), f"{len(shown)} events"
        if len(rows) > DRAWN:
            status += f", {len(rows) - DRAWN} arrows before these are not drawn"
        if stop >= 0:
            status += f", paused, {len(events) - stop} to come"
        rows = rows[-DRAWN:]
        width, height, titles, below = draw(rows, width)
        parts = {"head": svg(width, TOP, titles), "body": svg(width, height, below)}
        parts |= {"table": table(rows), "status": status}
        return json.dumps({"count": len(events), "parts": parts})


class Handler(BaseHTTPRequestHandler):
    """Reads the events of a process; answers for the page and its pictures."""

    server: Collector

    def do_POST(self) -> None:
        """Read the events of a worker's process until it ends."""
        server, worker = self.server, self.path.removeprefix("/")
        given = self.headers.get("Authorization", "")
        if not secrets.compare_digest(given.encode(), server.password.encode()):
            return self.send_error(403, "Only a traced step may send events.")
        server.processes.add(self)
        # A process that is killed may leave half a line.
        with suppress(OSError, UnicodeError, UserError):
            # A server that starts again goes on counting its tabs.
            self.wfile.write(b"%d\n" % server.alive(worker)[0])
            for line in self.rfile:
                server.put(Event.from_json(line.decode()))
        for lane in sorted(server.alive(worker)[1]):  # the process has not told their end
            at = round(time.time() - server.started, 6)
            server.put(Event(at, "end", lane, lane, "the server has ended"))
        server.processes.remove(self)

    def do_GET(self) -> None:
        """Answer for the page, or for a picture."""
        # The check of the host refuses a foreign site whose name leads to this machine.
        port = self.server.server_port
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            return self.send_error(403, "Open the address that make run has printed.")
        try:
            asked = {key: int(value) for key, value in parse_qsl(self.path.partition("?")[2])}
            kind, text = "text/html", PAGE
            if asked:
                kind, text = "application/json", self.server.picture(**asked)
        except (TypeError, ValueError):
            return self.send_error(404, "There is no such page.")
        with suppress(OSError):  # the page is closed
            self.send_response(200)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(text.encode())

    def log_message(self, *arguments: object) -> None:
        """Print nothing: the terminal belongs to the step and its events."""
