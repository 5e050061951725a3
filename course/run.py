"""`make run`: prepare a step, start its server, print the address, and clean up."""

import os
import random
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from course import environment, parts
from course.processes import CommandFailed, run_quietly, stop
from course.steps import ROOT, Step, find_step
from course.terminal import Progress, UserError, colour, kept_terminal, say

HOST = "127.0.0.1"
FOREIGN = {"DJANGO_SETTINGS_MODULE", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV"}


def parse_port(text: str) -> int:
    """Return the port number in `text`; raise UserError if there is none."""
    if text.isdecimal() and 1 <= int(text) <= 65535:
        return int(text)
    raise UserError(f"PORT must be a number from 1 to 65535, not {text!r}.")


def answers(port: int) -> bool:
    """Tell whether a server accepts connections on `port`."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def is_free(port: int) -> bool:
    """Tell whether a server could listen on `port`; raise PermissionError if that is forbidden."""
    if answers(port):
        return False
    with socket.socket() as probe:
        if os.name != "nt":
            # Servers set this option, so closing connections do not block the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError:
            raise
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a free port.

    The steps' own tests use ports from 10,000, and outgoing connections have higher ones. So
    neither takes this port meanwhile. Chromium refuses no port of this range.
    """
    while not is_free(port := random.randrange(7_000, 10_000)):
        pass
    return port


def require_free(port: int, command: str) -> None:
    """Raise UserError unless `port` is free; suggest `command` with a free port."""
    try:
        if is_free(port):
            return
        reason = "is already in use"
    except PermissionError:
        reason = "may not be used by ordinary programs"
    above = (p for p in range(max(port + 1, 8001), 65536) if is_free(p))
    other = next(above, None) or free_port()
    raise UserError(f"Port {port} {reason}: choose another, for example: {command} PORT={other}")


def step_environment() -> dict[str, str]:
    """Return the learner's environment without the variables of another project."""
    env = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    env["PYTHONUNBUFFERED"] = "1"
    return env


def migrate(python: Path, step: Step, env: dict[str, str]) -> None:
    """Run `migrate` for the step; raise UserError with Django's output on failure."""
    progress = Progress("Preparing the database")
    try:
        run_quietly([python, "manage.py", "migrate"], progress, cwd=step.folder, env=env)
    except CommandFailed as error:
        raise environment.failure("Preparing the database", error) from None
    progress.done()


def serve(python: Path, step: Step, port: int, env: dict[str, str]) -> int:
    """Run the step's server until Ctrl-C; return 0. Raise UserError if the server ends by itself.

    The server keeps our standard input and process group. So `breakpoint()` works in a step, and
    the terminal's Ctrl-C reaches the server.
    """
    command = [str(python), "manage.py", "runserver", f"{HOST}:{port}"]
    server = subprocess.Popen(command, cwd=step.folder, env=env)
    try:
        while server.poll() is None and not answers(port):
            time.sleep(0.1)
        if server.poll() is None:
            address = colour(f"http://{HOST}:{port}/", "bold")
            say(f"\nStep {step.number} is running: open {address}  (Ctrl-C stops it)\n")
        code = server.wait()
    except KeyboardInterrupt:
        stop(server, patience=1.0)
        say("\nStopped.")
        return 0
    raise UserError(
        f"The server of step {step.number} ended by itself (exit code {code}); "
        "see its output above."
    )


def run(wanted: str, port_text: str, part: str | None = None, root: Path = ROOT) -> int:
    """Start the step called `wanted` on `port_text`; return the exit code for the shell.

    If `part` is the number of a part, start the mid-point after that part. Raises UserError for a
    wrong step, part or port, and if the step cannot start.
    """
    step = find_step(wanted, root)
    port = parse_port(port_text)
    command = f"make run STEP={step.number}" + (f" PART={part}" if part else "")
    midpoint = None if part is None else parts.find_midpoint(step, part, root)
    require_free(port, command)
    python = environment.ensure_step(step, root)
    if midpoint:
        step = parts.open_midpoint(midpoint, root)
    env = step_environment()
    migrate(python, step, env)
    require_free(port, command)
    with kept_terminal():
        return serve(python, step, port, env)
