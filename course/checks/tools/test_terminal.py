"""Only terminals get colour, and long work shows its progress everywhere."""

import io
import re
import sys

from course.core.environment import run_quietly
from course.core.terminal import colour


class Screen(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Claim to be a terminal."""
        return True


def test_colour_is_for_terminals(monkeypatch):
    """A pipe or a file gets plain text, and so does a reader who wants no colour."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert colour("hi", "red", Screen()) == "\033[31mhi\033[0m"
    assert colour("hi", "red", io.StringIO()) == "hi"
    for name, value in {"TERM": "dumb", "NO_COLOR": "1"}.items():
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert colour("hi", "red", Screen()) == "hi"


def test_long_work_is_one_line(capsys):
    """The line begins with what is done, and ends with the duration."""
    run_quietly("Waiting", [sys.executable, "-c", "print('noise')"])
    assert re.fullmatch(r"Waiting … \d+\.\d s\n", capsys.readouterr().out)
