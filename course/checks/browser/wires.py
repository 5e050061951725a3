"""The wire, all sockets between a page and its server, under the control of a test."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from queue import Queue

from playwright.sync_api import Page, WebSocketRoute, expect

from course.checks.browser.pages import status

RESTARTING = 1012
CONNECTED = "Connected"
# From now on the page notes its sockets, the numbers of their messages, and their close codes.
NOTE_SOCKETS = """
Math.random = () => 0.02;  // for short waits
window.opened = 0;
window.numbers = [];
window.codes = [];
window.WebSocket = class extends WebSocket {
    constructor(...all) {
        super(...all);
        window.opened += 1;
        this.addEventListener("message", event => window.numbers.push(JSON.parse(event.data).seq));
        this.addEventListener("close", event => window.codes.push(event.code));
    }
};
"""
OPENED = "window.opened"


class Wire(ABC):
    """The page's ends of all its sockets."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.sockets: list[WebSocketRoute] = []
        self.said: Queue[dict] = Queue()
        page.route_web_socket(re.compile("/ws/"), self.route)

    @abstractmethod
    def route(self, socket: WebSocketRoute) -> None:
        """Take a socket that the page opens."""

    def accept(self, number: int) -> str:
        """Wait for the page's socket of this number, from 1; return its query."""
        self.wait(lambda: len(self.sockets) >= number, f"socket {number}")
        expect(status(self.page)).to_have_text(CONNECTED)
        assert len(self.sockets) == number
        return self.sockets[-1].url.partition("?")[2]

    def hear(self) -> dict:
        """Return the next frame that the page sends."""
        self.wait(lambda: not self.said.empty(), "a frame")
        return self.said.get_nowait()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Let the browser go on until a condition holds; raise AssertionError after 10 seconds."""
        for _ in range(500):
            if condition():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(f"{what} did not come")

    def close(self, code: int = RESTARTING) -> None:
        """Close the page's end of the last socket."""
        self.sockets[-1].close(code=code)


class Network(Wire):
    """A wire to the page's real server, which the test makes slow or deaf.

    While `is_slow`, the frames of the page wait in `kept` until `deliver`, and the server does not
    notice that a socket was closed. While `is_deaf`, the frames of the server are lost. `answers`
    has every frame of the server.
    """

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        self.is_slow = self.is_deaf = False
        self.kept: list[tuple[WebSocketRoute, str]] = []
        self.answers: list[dict] = []

    def route(self, socket: WebSocketRoute) -> None:
        """Take a socket that the page opens, and open one to the server."""
        server = socket.connect_to_server()

        def say(text: str) -> None:
            self.said.put(json.loads(text))
            self.kept.append((server, text))
            if not self.is_slow:
                self.deliver()

        def answer(text: str) -> None:
            self.answers.append(json.loads(text))
            if not self.is_deaf:
                socket.send(text)

        def close(code: int | None, reason: str | None) -> None:
            if not self.is_slow:
                server.close()

        socket.on_message(say)
        socket.on_close(close)
        server.on_message(answer)
        self.sockets.append(socket)

    def accept(self, number: int) -> str:
        """Wait until the page's socket of this number has caught up; return its query."""
        query = super().accept(number)

        def caught_up() -> bool:
            return sum("caught_up" in answer for answer in self.answers) >= number

        self.wait(caught_up, f"caught_up on socket {number}")
        return query

    def change(self) -> None:
        """Tell the page that the network has changed, so that the page opens a new socket."""
        self.page.evaluate("dispatchEvent(new Event('online'))")

    def deliver(self) -> None:
        """Deliver the oldest kept frame to the server."""
        server, text = self.kept.pop(0)
        server.send(text)

    def wait_for_answers(self, count: int, message: str) -> None:
        """Wait until the server has sent this message this many times."""

        def came() -> bool:
            return [answer.get("message") for answer in self.answers].count(message) >= count

        self.wait(came, f"{count} × {message}")


class Script(Wire):
    """A wire whose other end is the test, in place of a server."""

    def route(self, socket: WebSocketRoute) -> None:
        """Take a socket that the page opens."""
        socket.on_message(lambda text: self.said.put(json.loads(text)))
        self.sockets.append(socket)

    def accept(self, number: int, caught_up: int | None = 0) -> str:
        """Wait for the page's socket of this number, say `caught_up`, and return its query."""
        query = super().accept(number)
        if caught_up is not None:
            self.send(caught_up=caught_up)
        return query

    def send(self, **frame) -> None:
        """Send a frame through the last socket."""
        self.sockets[-1].send(json.dumps(frame))

    def message(self, seq: int, text: str, client_id: str | None = None, who: str = "ben") -> None:
        """Send the frame of a stored message."""
        frame = {"message": text, "id": seq, "seq": seq, "sent_at": "2026-11-20T12:34:56+00:00"}
        self.send(**frame, username=who, client_id=client_id)
