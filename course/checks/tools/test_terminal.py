"""Only terminals get colour, and long work shows its progress everywhere."""

import io
import re
import sys

import pytest

from course.core.environment import run_quietly
from course.core.terminal import colour


class Screen(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def usual(monkeypatch):
    """A terminal that shows colour, independent of this machine's settings."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_colour_is_for_terminals(monkeypatch):
    """A pipe or a file gets plain text, and so does a reader who wants no colour."""
    assert colour("hi", "red", Screen()) == "\033[31mhi\033[0m"
    assert colour("hi", "red", io.StringIO()) == "hi"
    monkeypatch.setenv("TERM", "dumb")
    assert colour("hi", "red", Screen()) == "hi"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert colour("hi", "red", Screen()) == "hi"


def test_long_work_is_one_line_on_a_terminal(monkeypatch):
    """The seconds are overwritten, and the last line gives the duration."""
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    run_quietly("Waiting", [sys.executable, "-c", ""])
    seen = r"\r\033\[2KWaiting … 0 s\r\033\[2K.*Waiting: done in \d+\.\d s\n"
    assert re.fullmatch(seen, screen.getvalue())


def test_long_work_elsewhere_is_plain_lines(capsys):
    """A log gets a line at the start and a line at the end."""
    run_quietly("Waiting", [sys.executable, "-c", ""])
    first, last = capsys.readouterr().out.splitlines()
    assert first == "Waiting …"
    assert last.startswith("Waiting: done in ")
