"""Output for people: colour, and errors in one clear sentence."""

import os
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
