"""Start a process of the stack, watch the process, and end it with its children."""

import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course.core.environment import LAST_LINES
from course.core.ports import HOST, answers
from course.core.processes import clean_environment, descendants, end, start_job, wait_until
from course.core.terminal import UserError

PATIENCE = 20.0  # seconds for a part to start, on a busy machine
GRACE = 12.0  # seconds for a part to stop; a worker needs at most ten


@dataclass
class Part:
    """A process of the stack: its command, its port if any, and the signal that ends the process.

    `user` has the arguments for subprocess that choose another user.
    """

    name: str
    command: list[str]
    port: int
    cwd: Path
    log: Path
    env: Mapping[str, str] = field(default_factory=clean_environment)
    user: Mapping[str, Any] = field(default_factory=dict)
    end_signal: signal.Signals = signal.SIGTERM
    ready: Callable[[], bool] | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """The part's host:port."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id, from the start until `stop`."""
        assert self.process
        return self.process.pid

    @property
    def running(self) -> bool:
        """True while the process exists, even if the process is frozen."""
        return self.process is not None and self.process.poll() is None

    @property
    def text(self) -> str:
        """The log so far."""
        return self.log.read_text("utf-8", errors="replace")

    def launch(self) -> None:
        """Start the process; do not wait until it is ready."""
        self.process = start_job(self.command, self.log, self.cwd, self.env, "ab", **self.user)

    def start(self) -> None:
        """Start the process, on the same port and with the same data; wait until it is ready.

        Raises UserError, with the end of the log, if the process ends or is not ready in time.
        """
        self.launch()

        def settled() -> bool:
            return not self.running or (self.ready() if self.ready else answers(self.port))

        if not wait_until(settled, PATIENCE, pause=0.02) or not self.running:
            raise UserError(self.obituary())

    def run(self) -> None:
        """Run the process to its end; raise UserError, with the end of the log, if it fails."""
        self.launch()
        try:
            if self.process and self.process.wait():
                raise UserError(self.obituary())
        finally:
            self.stop()

    @property
    def death(self) -> str:
        """The cause of the end, such as "SIGKILL" or "exit code 1"."""
        code = self.process.poll() if self.process else None
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"

    def obituary(self) -> str:
        """Return a text that says what happened, with the end of the log."""
        what = "was not ready in time" if self.running else f"ended ({self.death})"
        lines = self.text.strip().splitlines()[-LAST_LINES:]
        return "\n    ".join([f"{self.name} {what}. The end of its log:", *lines])

    def stop(self, number: int | None = None) -> None:
        """End the process by the signal `number` (default: `end_signal`), and end its children.

        Return when all have ended. Kill the process if it still runs after `GRACE` seconds.
        """
        if self.process:
            # If the main process is killed, nginx's workers continue, and PostgreSQL's end later.
            family = descendants(self.process.pid)
            end([self.process], grace=GRACE, number=number or self.end_signal)
            wait_until(lambda: not any(map(is_alive, family)), GRACE, pause=0.02)
            self.process = None

    def restart(self, number: int | None = None) -> None:
        """Stop the process and start it again."""
        self.stop(number)
        self.start()


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie has ended and does not run."""
    if Path("/proc/self").exists():
        with suppress(OSError):
            return bool(Path(f"/proc/{pid}/cmdline").read_bytes())  # a zombie has none
        return False
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True).stdout.strip()[:1] not in (b"", b"Z")
