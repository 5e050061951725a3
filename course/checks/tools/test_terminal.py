"""Only terminals get colour, and long work shows its progress everywhere."""

import io
import sys

import pytest

from course.core.terminal import Progress, colour


class Screen(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def usual(monkeypatch):
    """A terminal that shows colour, independent of this machine's settings."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_colour_is_for_terminals():
    """A pipe or a file gets plain text."""
    assert colour("hi", "red", Screen()) == "\033[31mhi\033[0m"
    assert colour("hi", "red", io.StringIO()) == "hi"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_reader_can_do_without(monkeypatch, name, value):
    """NO_COLOR and terminals without colour are respected."""
    monkeypatch.setenv(name, value)
    assert colour("hi", "red", Screen()) == "hi"


def test_progress_on_a_terminal_is_one_line(monkeypatch):
    """The seconds overwrite each other, and the last line gives the duration."""
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    progress = Progress("Waiting")
    progress.started -= 3
    progress.tick()
    progress.done()
    assert "\r\033[2KWaiting … 3 s" in screen.getvalue()
    assert screen.getvalue().endswith("\r\033[2KWaiting: done in 3.0 s\n")


def test_progress_elsewhere_is_plain_lines(capsys):
    """A log gets a line at the start and a line at the end."""
    progress = Progress("Waiting")
    progress.tick()
    progress.done()
    assert capsys.readouterr().out == "Waiting …\nWaiting: done in 0.0 s\n"
