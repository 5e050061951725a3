"""Output for people: colour, progress, and errors in one clear sentence."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

COLOURS = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "dim": "2"}


class UserError(Exception):
    """Something the reader can put right; its text is a sentence that says how.

    The command line prints the text on standard error and exits with code 2.
    """


def is_terminal(stream: TextIO) -> bool:
    """Tell whether `stream` is a terminal that understands escape sequences."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def wants_colour(stream: TextIO) -> bool:
    """Tell whether to write colour to `stream`: a terminal, and no NO_COLOR (no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def colour(text: str, name: str, stream: TextIO | None = None) -> str:
    """Return `text` in the colour `name` where `stream` (standard output) shows colour."""
    if not wants_colour(stream or sys.stdout):
        return text
    return f"\033[{COLOURS[name]}m{text}\033[0m"


def say(text: str = "") -> None:
    """Print a line at once, also when the output is a pipe."""
    print(text, flush=True)


class LiveLine:
    """One line of a terminal, written over and over; silent where output is no terminal."""

    def __init__(self) -> None:
        self.live = is_terminal(sys.stdout)
        self.shown = ""

    def show(self, text: str) -> None:
        """Replace the line by `text`, cut to the width of the terminal."""
        if not self.live or text == self.shown:
            return
        width = shutil.get_terminal_size().columns - 1
        self.shown = text
        sys.stdout.write(f"\r\033[2K{text[:width]}")
        sys.stdout.flush()

    def clear(self) -> None:
        """Take the line away, so that ordinary output can follow."""
        if self.live and self.shown:
            sys.stdout.write("\r\033[2K")
            sys.stdout.flush()
            self.shown = ""


class Progress:
    """Shows that a long piece of work goes on: seconds on a terminal, plain lines elsewhere."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.started = time.monotonic()
        self.line = LiveLine()
        if self.line.live:
            self.tick()
        else:
            say(f"{title} …")

    def tick(self) -> None:
        """Show the seconds gone by; call it a few times a second."""
        self.line.show(f"{self.title} … {int(time.monotonic() - self.started)} s")

    def done(self) -> None:
        """Leave one line that says how long the work took."""
        self.line.clear()
        say(f"{self.title}: done in {time.monotonic() - self.started:.1f} s")


@contextmanager
def kept_terminal() -> Iterator[None]:
    """Give the terminal back as it was, also after a debugger in a child was killed.

    Python's debugger switches echo off while it reads a line; without this a learner who
    presses Ctrl-C at a breakpoint would type blind afterwards.
    """
    try:
        import termios
    except ImportError:  # Windows restores its console by itself.
        yield
        return
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        # From the background this would stop us, did we not say that we mean it.
        handler = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
        signal.signal(signal.SIGTTOU, handler)
