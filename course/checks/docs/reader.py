"""Follow a page of the book to the letter: its edits, its commands, and what it says one sees."""

import os
import re
import sys
from collections.abc import Callable
from contextlib import chdir, closing
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import Any

from playwright.sync_api import Browser, Page, expect

from course.book.pages import Part, names, read
from course.book.source import DOCS, find_symbol, read_lines
from course.checks.warm import start_module
from course.core.environment import LOCK
from course.core.ports import answers, free_port
from course.core.processes import clean_environment, start_job, stop, wait_until
from course.core.steps import ROOT

SECONDS = 30  # longer than a start takes on a busy machine
PAUSE = 200  # milliseconds; a socket is open after a few
# Patterns of text that may differ between two runs of a command.
CHANGING = [
    (re.compile(r"^WARNING: .*\n?", re.MULTILINE), ""),  # pip's, about the machine's network
    (re.compile(r"\d+\.\d+s\b( \(\d+:\d\d:\d\d\))?"), "N s"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"version \d+(\.\d+)+"), "version N"),
    (re.compile(r'"eyJ[\w:…-]+"'), '"TOKEN"'),
    (re.compile(r"\b\d+:\d\d\s[AP]M\b"), "TIME"),  # of day, as the page shows it
]
SPANS = re.compile(r"shows? `([^`]+)`")


def normal(text: str) -> str:
    """Return a text without what may differ between two runs."""
    for pattern, word in CHANGING:
        text = pattern.sub(word, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def is_empty(group: int) -> bool:
    """Tell whether a group has no process. Windows has no groups."""
    if os.name == "nt":
        return True
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


class Reader:
    """A person who follows a chapter in a folder of their own."""

    def __init__(self, folder: Path, browser: Browser, is_copied: bool = True) -> None:
        self.folder, self.browser, self.is_copied = folder, browser, is_copied
        self.cwd = folder
        self.log = folder / "server.log"
        self.process: Popen[bytes] | None = None  # the server
        self.host = ""
        self.sources: dict[Path, bytes] = {}  # the files of the reader's project at its start
        self.mark = 0  # how long the log was before the last action
        self.before = ""  # what the page showed at the last edit that ran

    def run(self, block: str) -> None:
        """Type the commands of a block; compare what they say."""
        for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            if command.startswith("cd "):
                self.cwd = self.cwd / command.removeprefix("cd ")
                continue
            env = clean_environment() | {"PIP_CONSTRAINT": (ROOT / LOCK).as_uri()}
            env |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
            env |= {"PYTHONUNBUFFERED": "1"}  # so that errors stand where they happen
            # The reader's python3 is the one that runs the tests.
            env |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"}
            env |= {"PIP_COMPILE": "0"}  # Python compiles what it imports
            log = self.folder / "command.log"
            process = start_job([command], log, self.cwd, env, shell=True)
            try:
                code = process.wait()
                is_over = partial(is_empty, process.pid)
                assert wait_until(is_over, SECONDS), f"$ {command}\nleaves a process behind."
            finally:
                stop(process)
            said = log.read_text("utf-8")
            # A command may fail if the page shows how.
            assert code == 0 or output, f"$ {command}\n{said}"
            assert normal(said) == normal(output), f"$ {command}\n{said}"

    def serve(self) -> str:
        """Return the host of the reader's server, or "" if the server does not start.

        The server starts anew if a file has changed.
        """
        folders = [self.cwd / "chat", self.cwd / "config"]
        files = [file for folder in folders for file in folder.rglob("*.*") if file.is_file()]
        sources = {file: file.read_bytes() for file in files if file.suffix != ".pyc"}
        self.mark = len(self.text)
        if sources != self.sources or not self.process or self.process.poll() is not None:
            self.close()
            port = free_port()
            command = ["manage", "runserver", "--noreload", f"127.0.0.1:{port}"]
            env = clean_environment()
            process = start_module(command, self.log, self.cwd, env, self.is_copied)
            wait_until(lambda: process.poll() is not None or answers(port), SECONDS, pause=0.02)
            self.host = f"127.0.0.1:{port}" if process.poll() is None else ""
            self.process, self.sources, self.mark = process, sources, 0
        return self.host

    @property
    def text(self) -> str:
        """The text in the terminal of the server."""
        return self.log.read_text("utf-8") if self.log.exists() else ""

    @property
    def said(self) -> str:
        """The text that has come to this terminal since the last action."""
        return self.text[self.mark :]

    def shows(self, line: str, page: str) -> bool:
        """Tell whether the page or the terminal of the server shows a line."""
        return line in normal(f"{page}\n{self.said}")

    def close(self) -> None:
        """End the server."""
        if self.process:
            stop(self.process)


# A play is the reader's actions on the page after an edit, and a scene is those around a failure.
# Both get the page, and end where the page has settled. A scene gets the server's host too, runs in
# the reader's folder, and returns the text that it shows.
Play = Callable[[Page], None]
Scene = Callable[[str, Page], str]


def look(reader: Reader, page: Page, play: Play, part: Part) -> None:
    """Do what a reader does after an edit, and compare what is seen with the edit's tag."""
    host = reader.serve()
    if part.tag == "won't run yet":
        assert not host, f"{part.line}: the server starts."
        return
    assert host, f"{part.line}: {reader.text}"
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
    """Play a scene; return what it shows."""
    host = reader.serve()
    assert host, reader.text
    with chdir(reader.cwd):
        return scene(host, page)


def type_into_console(page: Page, file: str, name: str, **changes: str) -> None:
    """Type a fence of a page of the book into the browser's console, and pause after each Enter.

    Each entry is evaluated as the browser's own console does it. `changes` are other words.
    """
    (text,) = [part.content for part in read(DOCS / file) if part.note.startswith(f"{name};")]
    for old, new in {"127.0.0.1:8000": page.url.split("/")[2], **changes}.items():
        assert old in text
        text = text.replace(old, new)
    console = page.context.new_cdp_session(page)
    entry = ""
    for line in text.splitlines(keepends=True):
        entry += line
        answer = console.send("Runtime.evaluate", {"expression": entry, "replMode": True})
        if "Unexpected end of input" in str(answer):
            continue  # the entry goes on in the next line
        assert "exceptionDetails" not in answer, answer
        page.wait_for_timeout(PAUSE)
        entry = ""


def put(file: Path, symbol: str, code: str) -> None:
    """Replace a symbol in a file by other code; what is new goes to the end of file or class."""
    lines = read_lines(file)
    found = find_symbol(symbol, lines)
    if found:
        assert "".join(lines[found[0].start : found[0].stop]) != code, f"{symbol} is no other code."
        lines[found[0].start : found[0].stop] = [code]
    elif "." in symbol:
        (place,) = find_symbol(symbol.rpartition(".")[0], lines)
        lines.insert(place.stop, f"\n{code}")
    else:
        lines.append(f"\n\n{code}")
    file.write_text("".join(lines), "utf-8")


def patch(file: Path, diff: str) -> None:
    """Change a file as a diff says; the old lines of each piece must stand in it once."""
    text = file.read_text("utf-8")
    for piece in diff.removeprefix("@@ … @@\n").split("@@ … @@\n"):
        # An empty line of a diff may have lost its space.
        lines = [(line[0], line[1:] or line) for line in piece.splitlines(keepends=True)]
        old = "".join(line for sign, line in lines if sign != "+")
        new = "".join(line for sign, line in lines if sign != "-")
        assert text.count(old) == 1, f"{file.name} has these lines {text.count(old)} times:\n{old}"
        text = text.replace(old, new)
    file.write_text(text, "utf-8")


def follow(
    file: Path, folder: Path, browser: Browser, scenes: dict[str, Scene], play: Play | None = None
) -> tuple[Path, dict[str, Any]]:
    """Follow a page in a new folder; nothing happens that the page does not say.

    Return the reader's folder at the end, and the names that the page's listings have made.
    """
    (folder / ".venv").symlink_to(sys.prefix)
    for copied in [ROOT / "docs", *ROOT.glob("step0*")]:
        (folder / copied.name).symlink_to(copied)
    # The page shows what the server reports at its end.
    has_end = any(part.note == "end" for part in read(file))
    reader, namespace = Reader(folder, browser, not has_end), names()
    page = browser.new_context().new_page()
    page.set_default_timeout(SECONDS * 1000)
    mistake, undo = "", lambda: 0
    with closing(reader), page.context:
        for part in read(file):
            scene = part.note.split()[0] if part.mark in ("wrong", "try") else part.note
            if mistake and not (
                part.mark in ("seen", "illustration") and scene.startswith(mistake)
            ):
                mistake = ""
                undo()
            if part.code:
                exec(part.code, namespace)
                if part.code.startswith("chapter.edit"):
                    namespace["chapter"].write(reader.cwd)
            elif part.language == "console":
                reader.run(part.content)
            elif part.tag:
                assert play
                look(reader, page, play, part)
            elif part.mark == "file":
                new = reader.cwd / part.note
                new.parent.mkdir(parents=True, exist_ok=True)
                new.write_text(part.content, "utf-8")
            elif part.mark == "edit":
                patch(reader.cwd / part.note, part.content)
            elif part.mark in ("wrong", "try"):
                mistake, path, symbol = part.note.split()
                undo = partial((reader.cwd / path).write_bytes, (reader.cwd / path).read_bytes())
                put(reader.cwd / path, symbol, part.content)
            elif part.mark == "seen":
                if scene == "end":
                    reader.close()
                is_server = scene in ("start", "end")
                shown = "" if is_server else watch(reader, page, scenes[scene])
                for line in normal(part.content).splitlines():
                    is_shown = partial(reader.shows, line, shown)
                    assert wait_until(is_shown, SECONDS), (
                        f"line {part.line}: {shown}\n{reader.said}"
                    )
    return reader.cwd, namespace
