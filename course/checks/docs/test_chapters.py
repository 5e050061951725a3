"""A chapter is followed to the letter: its edits, its commands, and what it says one sees."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from course.book.pages import Part, names, read
from course.book.source import find_symbol, read_lines
from course.core.environment import LOCK
from course.core.ports import answers, free_port
from course.core.processes import clean_environment, start_job, stop, wait_until
from course.core.steps import ROOT, list_folder

SECONDS = 30  # longer than a start takes on a busy machine
# What may differ between two runs of a command.
CHANGING = [
    (re.compile(r"^WARNING: .*\n?", re.MULTILINE), ""),  # pip's, about the machine's network
    (re.compile(r"\d+\.\d+s\b"), "N s"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"version \d+(\.\d+)+"), "version N"),
]
SPANS = re.compile(r"shows? `([^`]+)`")


def normal(text: str) -> str:
    """Return a text without what may differ between two runs."""
    for pattern, word in CHANGING:
        text = pattern.sub(word, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


class Reader:
    """A person who follows a chapter in a folder of their own."""

    def __init__(self, folder: Path, browser: Browser) -> None:
        self.folder, self.browser = folder, browser
        self.cwd = folder
        self.log = folder / "server.log"
        self.said = ""  # by the server, at its last start
        self.before = ""  # what the page showed at the last edit that ran

    def run(self, block: str) -> None:
        """Type the commands of a block; compare what they say."""
        for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            if command.startswith("cd "):
                self.cwd = self.cwd / command.removeprefix("cd ")
                continue
            env = clean_environment() | {"PIP_CONSTRAINT": (ROOT / LOCK).as_uri()}
            env |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
            done = subprocess.run(
                command, shell=True, cwd=self.cwd, env=env, capture_output=True, text=True
            )
            said = done.stdout + done.stderr
            assert done.returncode == 0, f"$ {command}\n{said}"
            assert normal(said) == normal(output), f"$ {command}\n{said}"

    @contextmanager
    def server(self) -> Iterator[str]:
        """Run the reader's server; yield its host, or "" if it does not start."""
        port = free_port()
        command = [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
        process = start_job(command, self.log, self.cwd, clean_environment())
        try:
            wait_until(lambda: process.poll() is not None or answers(port), SECONDS, pause=0.02)
            yield f"127.0.0.1:{port}" if process.poll() is None else ""
        finally:
            stop(process)
            self.said = self.log.read_text("utf-8")


# What the reader of each chapter does with the page after an edit; it ends where the page has
# settled.
Play = Callable[[Page], None]
Scene = Callable[[str, Page], str]


def write_hello(page: Page) -> None:
    """Open the page of chapter 1, and write a line."""
    status = page.locator("#connection-status")
    if status.count():
        expect(status).not_to_have_text("Connecting…")
    page.fill("#chat-message-input", "hello")
    page.press("#chat-message-input", "Enter")


def send(frame: str) -> Scene:
    """Return a scene: a second socket sends a frame, from the browser's console."""

    def scene(host: str, page: Page) -> str:
        page.goto(f"http://{host}/")
        return page.evaluate(
            f"""() => new Promise((resolve) => {{
                const other = new WebSocket("ws://{host}/ws/echo/");
                other.onclose = (event) => resolve(`closed ${{event.code}}`);
                other.onmessage = (event) => resolve(event.data);
                other.onopen = () => other.send({frame});
            }})"""
        )

    return scene


def stranger(host: str, page: Page) -> str:
    """Run the reader's script, which comes from another website."""
    try:
        connect(f"ws://{host}/ws/echo/", origin="https://evil.example").close()
        return "The socket is open."
    except InvalidStatus as error:
        return f"The server said {error.response.status_code}"


def status(host: str, page: Page) -> str:
    """Open the page, and wait until it says that the connection is closed."""
    page.goto(f"http://{host}/")
    closed = page.locator("#connection-status")
    expect(closed).to_contain_text("Closed")
    return closed.inner_text()


def open_page(host: str, page: Page) -> str:
    """Open the page, and wait until it is connected."""
    page.goto(f"http://{host}/")
    expect(page.locator("#connection-status")).to_have_text("Connected")
    return ""


CHAPTERS: dict[str, tuple[Play, dict[str, Scene]]] = {
    "01-echo": (
        write_hello,
        {
            "any-origin": stranger,
            "stranger": stranger,
            "open": open_page,
            "no-accept": status,
            "obvious": send('"null"'),
            "obvious binary": send('new Blob(["hi"])'),
            "better": send('"null"'),
        },
    ),
}


def look(reader: Reader, page: Page, play: Play, part: Part) -> None:
    """Do what a reader does after an edit, and compare what is seen with the edit's tag."""
    with reader.server() as host:
        if part.tag == "won't run yet":
            assert not host, f"{part.line}: the server starts."
            return
        assert host, f"{part.line}: {reader.log.read_text()}"
        page.goto(f"http://{host}/")
        play(page)
        main = page.locator("main")
        for text in SPANS.findall(part.see):
            expect(main).to_contain_text(text)
            assert text not in reader.before, f"{part.line}: {text} was there before."
        if part.tag == "runs, nothing to see" and reader.before:
            expect(main).to_have_text(reader.before, use_inner_text=True)
        reader.before = main.inner_text()


def watch(reader: Reader, page: Page, scene: Scene) -> str:
    """Play a scene; return what it shows and what the server's terminal says."""
    with reader.server() as host:
        assert host, reader.log.read_text()
        shown = scene(host, page)
    return f"{shown}\n{reader.said}"


def put(file: Path, symbol: str, code: str) -> None:
    """Replace a symbol in a file by other code; a new method goes to the end of its class."""
    lines = read_lines(file)
    found = find_symbol(symbol, lines)
    if found:
        lines[found[0].start : found[0].stop] = [code]
    else:
        (place,) = find_symbol(symbol.rpartition(".")[0], lines)
        lines.insert(place.stop, f"\n{code}")
    file.write_text("".join(lines), "utf-8")


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_says_what_happens(name, browser, tmp_path):
    """From the folder at the start to the step at the end, nothing happens that is not said."""
    play, scenes = CHAPTERS[name]
    for folder in [ROOT / "docs", *ROOT.glob("step0*")]:
        (tmp_path / folder.name).symlink_to(folder)
    reader, namespace = Reader(tmp_path, browser), names()
    page = browser.new_page()
    page.set_default_timeout(SECONDS * 1000)
    mistake = ""
    for part in read(ROOT / "docs" / f"{name}.md"):
        scene = part.note.split()[0] if part.mark == "wrong" else part.note
        if mistake and not (part.mark in ("seen", "illustration") and scene.startswith(mistake)):
            mistake = ""
            namespace["chapter"].write(reader.cwd)
        if part.code:
            exec(part.code, namespace)
            if part.code.startswith("chapter.edit"):
                namespace["chapter"].write(reader.cwd)
        elif part.language == "console":
            reader.run(part.content)
        elif part.tag:
            look(reader, page, play, part)
        elif part.mark == "wrong":
            mistake, path, symbol = part.note.split()
            put(reader.cwd / path, symbol, part.content)
        elif part.mark == "seen":
            said = reader.said if scene == "start" else watch(reader, page, scenes[scene])
            for line in normal(part.content).splitlines():
                assert line in normal(said), f"line {part.line}: {said}"
    page.close()
    chapter = namespace["chapter"]
    assert chapter.left() == []
    files = list_folder(chapter.folder)
    for path in [path for path in files if path.name != "README.md"]:
        assert (reader.cwd / path).read_bytes() == (chapter.folder / path).read_bytes(), path
    assert set(list_folder(reader.cwd)) <= set(files)
