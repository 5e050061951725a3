"""Output for people: colour, a live line, and errors in one clear sentence."""

import os
import shutil
import sys
from typing import TextIO

COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
COLOURS |= {"blue": "34", "magenta": "35", "cyan": "36"}


class UserError(Exception):
    """A mistake that the reader can correct; the text says how.

    The command line prints the text on standard error and exits with code 2.
    """


def wants_colour(stream: TextIO) -> bool:
    """Tell whether to write escape sequences: to a terminal, without NO_COLOR (no-color.org)."""
    dumb = os.environ.get("TERM") == "dumb" or os.environ.get("NO_COLOR")
    return stream.isatty() and not dumb


def colour(text: str, name: str, stream: TextIO | None = None) -> str:
    """Return `text` in the colour `name`, if `stream` (default: standard output) shows colour."""
    if not wants_colour(stream or sys.stdout):
        return text
    return f"\033[{COLOURS[name]}m{text}\033[0m"


def say(text: str = "") -> None:
    """Print a line at once, also if the output is a pipe."""
    print(text, flush=True)


class LiveLine:
    """One line of a terminal that is overwritten; silent if the output is no terminal."""

    def __init__(self) -> None:
        self.live = wants_colour(sys.stdout)

    def show(self, text: str) -> None:
        """Replace the line by `text`, cut to the width of the terminal."""
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[2K{text[:width]}", end="", flush=True)

    def clear(self) -> None:
        """Erase the line, so that ordinary output can follow."""
        self.show("")
