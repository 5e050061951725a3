"""Browser tests with Selenium: what they notice, and a command that does not end."""

import shutil
import subprocess
import sys
from collections.abc import Callable
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


def run(test: str) -> Callable[[str, Page], str]:
    """Return a scene: the reader runs one of the tests, and sees the terminal."""

    def scene(host: str, window: Page) -> str:
        command = [sys.executable, "manage.py", "test", f"chat.tests.ChatTests.{test}"]
        return subprocess.run(
            command, env=clean_environment(), stdout=subprocess.PIPE, stderr=STDOUT, text=True
        ).stdout

    return scene


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


SCENES = {
    "layer": run("test_any_code_can_send_to_the_room"),
    "hang": hang,
    "forget": run("test_the_page_shows_the_history"),
}
