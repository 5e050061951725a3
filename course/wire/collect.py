"""Collect the events of all traced processes, and serve the page that draws them."""

import hmac
import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from course.core.ports import HOST, free_port, is_free
from course.core.processes import wait_until
from course.core.terminal import UserError, say
from course.wire.draw import STYLE, Picture, terminal_line
from course.wire.events import Event

PAGE = Path(__file__).with_name("page.html")
POLICY = "default-src 'none'; connect-src 'self'; img-src data:; style-src 'unsafe-inline'; "
MOST = 20_000  # events that are kept for the page
DRAWN = 2_000  # events in one picture, those inside bursts too
PATIENCE = 15.0  # seconds after which a page gets an answer without news


class Collector(ThreadingHTTPServer):
    """Takes events from traced processes, prints them, and draws them for the page."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__((HOST, port), Handler)
        self.url = f"http://{HOST}:{port}/"
        self.password = secrets.token_urlsafe(16)
        self.started = time.time()
        self.changed = threading.Condition()
        self.events: deque[Event] = deque(maxlen=MOST)
        self.count = 0  # of all events so far
        self.processes: set[object] = set()  # that are traced now
        self.looks = set[tuple[str, str]]()  # of a step's tasks at the database, already printed

    def variables(self, worker: str = "") -> dict[str, str]:
        """Return the environment variables with which a step's process finds this collector."""
        return {
            "COURSE_WIRE": f"{self.server_port}:{self.password}",
            "COURSE_WORKER": worker,
            "DJANGO_SETTINGS_MODULE": "course.wire.inside.settings",
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        }

    def put(self, event: Event) -> None:
        """Add an event that has happened just now."""
        event = replace(event, at=round(event.at - self.started, 6))
        with self.changed:
            self.events.append(event)
            self.count += 1
            if not self.is_known_look(event):
                say(terminal_line(event))
            self.changed.notify_all()

    def is_known_look(self, event: Event) -> bool:
        """Tell whether nothing has happened since a task of the step looked for the same.

        Step 5 looks at its counters every two seconds, which would fill the terminal.
        """
        look = event.source, event.text
        if event.kind != "database" or "task " not in event.source:
            self.looks.clear()
        elif look in self.looks:
            return True
        else:
            self.looks.add(look)
        return False

    def in_order(self) -> list[Event]:
        """Return the events by time: those of several workers may arrive in another order."""
        return sorted(self.events, key=lambda event: event.at)

    def picture(self, known: int, start: int, stop: int, width: int) -> dict[str, object]:
        """Return the diagram of the events from number `start` to before `stop`.

        A negative `stop` means all events. If there are `known` events, wait a while for more.
        """
        with self.changed:
            self.changed.wait_for(lambda: self.count != known, PATIENCE)
            events, count = self.in_order(), self.count
        stop = count if stop < 0 else stop
        before = count - len(events)
        shown = events[max(start - before, stop - before - DRAWN, 0) : max(stop - before, 0)]
        drawn = Picture(shown, width)
        parts = {"head": drawn.head(), "body": drawn.body(), "table": drawn.table()}
        return {"count": count, "shown": len(shown), "left_out": drawn.left_out, **parts}


class Handler(BaseHTTPRequestHandler):
    """Reads the events of a process; answers for the page and its pictures."""

    server: Collector

    def do_POST(self) -> None:
        """Read the events of a process until it ends."""
        given, password = self.headers.get("Authorization", ""), self.server.password
        if not hmac.compare_digest(given.encode(), password.encode()):
            return self.send_error(403, "Only a traced step may send events.")
        alive = set()  # the consumers of the process
        self.server.processes.add(self)
        # A process that is killed may leave half a line.
        with suppress(OSError, UnicodeError, UserError):
            for line in self.rfile:
                event = Event.from_json(line.decode())
                self.server.put(event)
                if event.kind == "connect":
                    alive.add(event.target)
                elif event.kind == "end":
                    alive.remove(event.source)
        for lane in sorted(alive):  # the process has ended without a word about these
            self.server.put(Event(time.time(), "end", lane, lane, "the server has ended"))
        self.server.processes.remove(self)

    def do_GET(self) -> None:
        """Answer for the page, or for a picture."""
        # The check of the host refuses a foreign site whose name leads to this machine.
        port = self.server.server_port
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            return self.send_error(403, "Open the address that make run has printed.")
        url = urlsplit(self.path)
        nonce = secrets.token_urlsafe(16)
        if url.path == "/":
            kind, text = "text/html", PAGE.read_text("utf-8").replace("NONCE", nonce)
            text = text.replace("/* STYLE */", STYLE)
        else:
            try:
                asked = {key: int(value) for key, value in parse_qsl(url.query)}
                kind, text = "application/json", json.dumps(self.server.picture(**asked))
            except (TypeError, ValueError):
                return self.send_error(404, "There is no such page.")
        with suppress(OSError):  # the page does not wait any longer
            self.send_response(200)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Security-Policy", f"{POLICY}script-src 'nonce-{nonce}'")
            self.end_headers()
            self.wfile.write(text.encode(errors="replace"))

    def log_message(self, *arguments: object) -> None:
        """Print nothing: the terminal belongs to the step and its events."""


@contextmanager
def collecting(port: int, file: Path | None = None) -> Iterator[Collector]:
    """Collect events during this block, and serve the page, on `port` if that is free.

    At the end, the last events are written to `file`; raises UserError if that cannot be.
    """
    try:
        if file:
            with file.open("a"):
                file.chmod(0o600)  # nobody else on this machine may read what people wrote
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror}): choose another.") from None
    with Collector(port if port <= 65535 and is_free(port) else free_port()) as collector:
        threading.Thread(target=collector.serve_forever, args=[0.1], daemon=True).start()
        try:
            yield collector
        finally:
            # The step has ended, but its last events may not be read yet.
            wait_until(lambda: not collector.processes, 1.0, pause=0.01)
            collector.shutdown()
            if file:
                lines = [event.to_json() + "\n" for event in collector.in_order()]
                file.write_text("".join(lines), "utf-8", newline="\n")
