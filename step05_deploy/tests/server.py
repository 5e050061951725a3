"""Start and stop the step's own server, so that tests see what a browser would see."""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from contextlib import suppress
from itertools import cycle
from pathlib import Path

STEP = Path(__file__).resolve().parent.parent
LOG_LINES = 30  # lines of the server's log that a failed test shows


def take_ports():
    """Return a hundred ports for this process, and the socket that guards them.

    Tests may run side by side. Another process finds the guard on the first port, and
    takes the next hundred. Systems do not give these ports to outgoing connections.
    """
    for first in range(10_000, 20_000, 100):
        with suppress(OSError):
            guard = socket.create_server(("127.0.0.1", first))
            return cycle(range(first + 1, first + 100)), guard
    raise RuntimeError("All ports from 10,000 to 20,000 are in use.")


ports, guard = take_ports()


def free_port():
    """Return a TCP port of 127.0.0.1 that no program listens on."""
    for port in ports:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Server:
    """``manage.py runserver`` on a free port of 127.0.0.1, in a process of its own.

    The file ``log`` receives its output. Keyword arguments are environment variables.
    """

    def __init__(self, log, **environment):
        self.log = Path(log)
        self.environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"

    def command(self):
        """Return the arguments for Python that start the server."""
        return ["manage.py", "runserver", "--noreload", self.host]

    def start(self):
        """Start the process and wait until it answers.

        Raises RuntimeError with the log if the process ends instead.
        """
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.command()],
                cwd=STEP,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError(self.log.read_text()) from None
                time.sleep(0.02)
            else:
                return

    def stop(self):
        """End the process as an operator does, and wait until it is gone."""
        self.process.terminate()
        self.process.wait(10)

    def kill(self):
        """End the process without a warning, as a power failure does."""
        self.process.kill()
        self.process.wait(10)

    def last_lines(self):
        """Return the end of the log: what the server said about a failure."""
        return "\n".join(self.log.read_text().splitlines()[-LOG_LINES:])


class Worker(Server):
    """The step under Daphne, with settings from the environment, as in production."""

    def __init__(self, log, **environment):
        super().__init__(log, DJANGO_SETTINGS_MODULE="config.settings", **environment)

    def command(self):
        """Return the arguments for Python that start the server."""
        address = ["-b", "127.0.0.1", "-p", str(self.port)]
        return ["-m", "daphne", *address, "config.asgi:application"]


def unit_command(program, port):
    """Return the arguments with which deploy/chat@.service starts uvicorn or Daphne.

    The command for Daphne stands there as a comment.
    """
    unit = STEP / "deploy" / "chat@.service"
    assert unit.exists(), "deploy/chat@.service is missing"
    text = unit.read_text("utf-8").replace("\\\n", " ")
    command = re.search(rf"^(# )?ExecStart=\S+ (-m {program} .*)", text, re.MULTILINE)
    assert command, f"deploy/chat@.service has no command for {program}"
    return shlex.split(command[2].replace("%i", str(port)))


class UvicornWorker(Worker):
    """The step under uvicorn, as the process manager starts it."""

    def command(self):
        """Return the arguments for Python that start the server."""
        return unit_command("uvicorn", self.port)


class DaphneWorker(Worker):
    """The step under Daphne, as the process manager could start it."""

    def command(self):
        """Return the arguments for Python that start the server."""
        return unit_command("daphne", self.port)
