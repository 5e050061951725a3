"""People in a room of a stack: one with client.py in a terminal, one with the page in a browser."""

import asyncio
import re
import sys
from contextlib import suppress
from pathlib import Path

from playwright.sync_api import Page

from course.checks.production.clients import ending


class Terminal:
    """client.py in a process of its own: somebody types a line every `pace` seconds."""

    def __init__(self, name: str, password: str, file: Path, server: str, room: str) -> None:
        self.name = name
        self.password = password
        self.command = [sys.executable, str(file), name, "--server", server, "--room", room]
        self.pace = 0.25
        self.talking = False
        self.lines: list[str] = []
        self.written: dict[str, str] = {}

    @property
    def texts(self) -> list[str]:
        """The texts of all messages, in the order in which they were shown."""
        found = [re.fullmatch(r"(ann|ben|cat): (.*)", line) for line in self.lines]
        return [match[2] for match in found if match]

    @property
    def unsent(self) -> int:
        """The number of typed lines that the program has not shown as stored messages."""
        return len(set(self.written.values()) - set(self.texts))

    @property
    def complaints(self) -> list[str]:
        """The lines that are neither messages nor reports about the connection."""
        usual = ("Connected. ", "(reconnecting", "(connected again", "ann: ", "ben: ", "cat: ")
        return [line for line in self.lines if not line.startswith(usual)]

    async def live(self) -> None:
        """Run the program until cancelled."""
        process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{self.password}\n".encode())
        typing = asyncio.create_task(self.type_into(process.stdin))
        try:
            async for line in process.stdout:
                self.lines.append(line.decode().rstrip("\n"))
            self.lines.append(f"The program ended with exit code {await process.wait()}")
        finally:
            typing.cancel()
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def type_into(self, keyboard: asyncio.StreamWriter) -> None:
        """Type a line every `pace` seconds while `talking`."""
        while True:
            await asyncio.sleep(self.pace)
            if self.talking:
                text = f"{self.name} {len(self.written)}"
                self.written[text] = text
                keyboard.write(f"{text}\n".encode())


# Record the close code of each socket of the page, whether the page waited for an answer, and
# whether the socket was ever open. The page waits for one answer at a time.
NOTE_CODES = """
window.codes = [];
const Real = WebSocket;
window.WebSocket = class extends Real {
    constructor(...args) {
        super(...args);
        this.addEventListener("open", () => { this.wasOpen = true; });
        this.addEventListener("message", event => {
            if (JSON.parse(event.data).client_id === this.asked) this.asked = null;
        });
        this.addEventListener("close", event => {
            window.codes.push([event.code, Boolean(this.asked), Boolean(this.wasOpen)]);
        });
    }
    send(frame) {
        this.asked = JSON.parse(frame).client_id;
        super.send(frame);
    }
};
"""
TALK = """
([name, pause]) => {
    const input = document.querySelector("#chat-message-input");
    window.written = 0;
    window.talking = setInterval(() => {
        input.value = `${name} ${window.written++}`;
        input.form.requestSubmit();
    }, pause);
}
"""
READ = """
() => {
    const lines = [...document.querySelectorAll("#chat-log p")];
    const those = name => lines.filter(line => line.className === name);
    return {
        codes: window.codes,
        texts: those("message").map(line => line.lastChild.textContent),
        sending: document.querySelectorAll("#unsent-log p").length,
        errors: those("error").map(line => line.textContent),
    };
}
"""


class Window:
    """The page in a browser: somebody who has signed in writes a line every `pace` seconds."""

    LEAST_LINES = 1000  # the page keeps at least so many lines, and may drop older ones

    def __init__(self, name: str, page: Page) -> None:
        self.name = name
        self.page = page
        self.pace = 0.25
        self.count = 0
        self.texts: list[str] = []  # the messages that the log shows, from first to last
        self.complaints: list[str] = []  # the error lines in the log
        self.unsent = 0  # messages that are not acknowledged
        self.codes: list[int | str] = []  # how its sockets ended, as in `Client`

    def enter(self, url: str) -> None:
        """Open the room's page, and wait until its socket is open."""
        self.page.goto(url)
        self.page.wait_for_selector("#connection-status[data-state=open]")
        # Hide the log: nobody looks at it, and drawing each line is half of the work.
        self.page.evaluate("document.querySelector('#chat-log').hidden = true")

    def talk(self) -> None:
        """Begin to write."""
        self.page.evaluate(TALK, [self.name, self.pace * 1000])

    def hush(self) -> None:
        """Stop writing."""
        self.page.evaluate("clearInterval(window.talking)")
        self.count = self.page.evaluate("window.written")

    def look(self) -> None:
        """Read the page."""
        seen = self.page.evaluate(READ)
        self.texts, self.complaints, self.unsent = seen["texts"], seen["errors"], seen["sending"]
        self.codes = [ending(*each) for each in seen["codes"]]

    @property
    def written(self) -> dict[str, str]:
        """The texts of the messages that this window wrote."""
        return {text: text for text in (f"{self.name} {n}" for n in range(self.count))}
