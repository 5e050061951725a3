"""Browser tests with Selenium: what they notice, and a command that does not end."""

import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import STDOUT, TimeoutExpired

import pytest
from playwright.sync_api import Page

from course.core.processes import clean_environment, start_job, stop, wait_until

if not shutil.which("chromedriver"):
    # Selenium would download one.
    pytest.skip("There is no chromedriver here: install it (chromium-driver)")

SECONDS = 60  # longer than the tests take on a busy machine
A_MOMENT = 3  # seconds; the command that ends needs none


def forget(host: str, window: Page) -> str:
    """Run the test of the history; return what the terminal shows."""
    command = [sys.executable, "manage.py", "test", "-k", "history"]
    return subprocess.run(
        command, env=clean_environment(), stdout=subprocess.PIPE, stderr=STDOUT, text=True
    ).stdout


def hang(host: str, window: Page) -> str:
    """Run the tests until they have failed; return whether the command then ends."""
    log = Path("hang.log")
    command = [sys.executable, "manage.py", "test"]
    process = start_job(command, log, Path.cwd(), clean_environment())
    try:
        assert wait_until(lambda: "Destroying test" in log.read_text("utf-8"), SECONDS)
        process.wait(A_MOMENT)
        return log.read_text("utf-8")
    except TimeoutExpired:
        return f"{log.read_text('utf-8')}\nThe command is still running."
    finally:
        stop(process, grace=0)


SCENES = {"hang": hang, "forget": forget}
