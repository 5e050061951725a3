"""Start a process of the stack, watch the process, and end it with its children."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from course.core.environment import LAST_LINES
from course.core.ports import HOST, answers
from course.core.processes import clean_environment, descendants, wait_until
from course.core.terminal import UserError

PATIENCE = 20.0  # seconds for a part to start, on a busy machine
GRACE = 12.0  # seconds for a part to stop; a worker needs at most ten
ORPHANS_GRACE = 0.5  # seconds for the children of a killed process to end by themselves


@dataclass
class Part:
    """A process of the stack: its command, its port, and the signal that ends the process."""

    name: str
    command: list[str]
    port: int
    cwd: Path
    log: Path
    env: Mapping[str, str] = field(default_factory=clean_environment)
    user: str | None = None
    end_signal: signal.Signals = signal.SIGTERM
    ready: Callable[[], bool] | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """The part's host:port."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id; raises RuntimeError before the start and after `stop`."""
        if self.process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self.process.pid

    @property
    def running(self) -> bool:
        """True while the process exists, even if the process is frozen."""
        return self.process is not None and self.process.poll() is None

    def launch(self) -> None:
        """Start the process; do not wait until it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.cwd,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # In its own session, a part gets no Ctrl-C from the terminal: we end the parts.
                start_new_session=True,
                user=self.user,
                group=group_of(self.user),
                extra_groups=[] if self.user else None,
            )

    def start(self) -> None:
        """Start the process and wait until it is ready.

        Raises UserError, with the end of the log, if the process ends or is not ready in time.
        """
        self.launch()

        def settled() -> bool:
            return not self.running or (self.ready() if self.ready else answers(self.port))

        if not wait_until(settled, PATIENCE, pause=0.02):
            raise UserError(f"{self.name} was not ready in time:\n{self.last_lines()}")
        if not self.running:
            raise UserError(self.obituary())

    @property
    def death(self) -> str:
        """The cause of the end, such as "SIGKILL" or "exit code 1"."""
        assert self.process is not None
        code = self.process.poll()
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"

    def last_lines(self) -> str:
        """Return the end of the part's log, indented."""
        lines = self.log.read_text("utf-8", errors="replace").strip().splitlines()
        return "\n".join(f"    {line}" for line in lines[-LAST_LINES:])

    def obituary(self) -> str:
        """Return a text with the cause of the end and the end of the log."""
        return f"{self.name} ended ({self.death}). The end of its log:\n{self.last_lines()}"

    def signal(self, number: int) -> None:
        """Send a signal, such as SIGSTOP or SIGCONT, to the process."""
        os.kill(self.pid, number)

    def stop(self, number: int | None = None) -> None:
        """End the process by the signal `number` (default: `end_signal`), and end its children.

        Return when all have ended. Kill the process if it still runs after `GRACE` seconds.
        """
        process = self.process
        if process is None:
            return
        family = descendants(process.pid)
        if process.poll() is None:
            process.send_signal(number or self.end_signal)
            # A frozen process handles the signal only after SIGCONT.
            process.send_signal(signal.SIGCONT)
        if not wait_until(lambda: process.poll() is not None, GRACE, pause=0.02):
            process.kill()
            process.wait()
        # If nginx's main process is killed, its worker processes continue.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        if not wait_until(lambda: not any(map(is_alive, family)), ORPHANS_GRACE, pause=0.02):
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not any(map(is_alive, family)), GRACE, pause=0.02)
        self.process = None


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie has ended and does not run."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return False
        return not stat.rpartition(b")")[2].strip().startswith((b"Z", b"X"))
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    state = subprocess.run(command, capture_output=True).stdout.strip()
    return bool(state) and not state.startswith(b"Z")


def group_of(user: str | None) -> int | None:
    """Return the main group of a user of this machine; None for None, our own user."""
    if user is None:
        return None
    import pwd  # not on Windows

    return pwd.getpwnam(user).pw_gid
