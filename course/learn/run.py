"""`make run`: prepare a step, start its server, print the address, and clean up."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from course.core import environment, parts
from course.core.ports import HOST, answers, parse_port, require_free
from course.core.processes import FOREIGN, stop
from course.core.steps import ROOT, Step, find_step
from course.core.terminal import UserError, colour, say
from course.wire import check, traced


def serve(python: Path, step: Step, port: int, env: Mapping[str, str]) -> int:
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
        if os.name != "nt" and sys.stdin.isatty():
            # A killed debugger leaves the terminal without echo. In the background, SIGTTOU would
            # stop stty.
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            subprocess.run(["stty", "echo", "icanon", "icrnl"])
        say("\nStopped.")
        return 0
    raise UserError(
        f"The server of step {step.number} ended by itself (exit code {code}); "
        "see its output above."
    )


def run(
    wanted: str,
    port_text: str,
    part: str | None = None,
    trace: str | None = None,
    root: Path = ROOT,
) -> int:
    """Start the step called `wanted` on `port_text`; return the exit code for the shell.

    If `part` is the number of a part, start the mid-point after that part. With `trace`, also draw
    what goes over the wire. Raises UserError for a wrong step, part or port, and if the step cannot
    start.
    """
    check(trace)
    step = find_step(wanted, root)
    port = parse_port(port_text)
    files = [step.folder / "requirements.txt"]
    if part is not None:
        step = parts.open_midpoint(parts.find_midpoint(step, part, root), root)
    require_free(port, f"make run STEP={step.number}" + (f" PART={part}" if part else ""))
    python = environment.ensure(files, f"Installing the packages of step {step.number}", root)
    # The learner's own variables, such as REDIS_URL, reach the step.
    env = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    env["PYTHONUNBUFFERED"] = "1"
    migrate = [str(python), "manage.py", "migrate"]
    environment.run_quietly("Preparing the database", migrate, cwd=step.folder, env=env)
    with traced(trace, port) as variables:
        return serve(python, step, port, env | variables("") if variables else env)
