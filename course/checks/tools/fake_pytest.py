"""Replaces pytest in a fake step: writes a JUnit file with one passed test."""

import sys
from pathlib import Path

for word in sys.argv:
    if word.startswith("--junitxml="):
        Path(word.partition("=")[2]).write_text(
            '<testsuites><testsuite><testcase classname="tests.test_echo" file="tests/test_echo.py"'
            ' name="test_answer" time="0.1"/></testsuite></testsuites>'
        )
