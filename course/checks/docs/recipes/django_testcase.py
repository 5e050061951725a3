"""Tests with Django's TestCase: they notice what is wrong with the consumer."""

import subprocess
import sys
from subprocess import STDOUT

from playwright.sync_api import Page

from course.core.processes import clean_environment


def run_tests(host: str, window: Page) -> str:
    """Run the reader's own tests, as the page says; return what the terminal shows."""
    command = [sys.executable, "manage.py", "test"]
    return subprocess.run(
        command, env=clean_environment(), stdout=subprocess.PIPE, stderr=STDOUT, text=True
    ).stdout


SCENES = {"stay": run_tests, "all": run_tests}
