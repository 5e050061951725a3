"""A process of the stack: how it starts, how it is watched, and how it ends with its children."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from course.environment import LAST_LINES
from course.processes import clean_environment, descendants, wait_until
from course.run import HOST, answers
from course.terminal import UserError

PATIENCE = 20.0  # seconds for a part to start, on a busy machine
GRACE = 12.0  # seconds for a part to stop; the workers promise ten
ORPHANS_GRACE = 0.5  # seconds for the children of a killed process to see that it is gone


@dataclass
class Part:
    """A process of the stack: its command, its port, and how it is asked to end."""

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
        """The process id; RuntimeError while the part is not running."""
        if self.process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there (frozen counts)."""
        return self.process is not None and self.process.poll() is None

    def launch(self) -> None:
        """Start the process, and do not wait."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.cwd,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A terminal's Ctrl-C is for us: we end the parts one after another.
                start_new_session=True,
                user=self.user,
                group=group_of(self.user),
                extra_groups=[] if self.user else None,
            )

    def start(self) -> None:
        """Start the process and wait until it is ready; UserError with its words if it is not."""
        self.launch()

        def settled() -> bool:
            return not self.running or (self.ready() if self.ready else answers(self.port))

        if not wait_until(settled, PATIENCE, pause=0.02):
            raise UserError(f"{self.name} was not ready in time:\n{self.last_lines()}")
        if not self.running:
            raise UserError(self.obituary())

    @property
    def death(self) -> str:
        """How the process ended: "SIGKILL", or "exit code 1"."""
        assert self.process is not None
        code = self.process.poll()
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"

    def last_lines(self) -> str:
        """Return the end of the part's log, indented."""
        lines = self.log.read_text("utf-8", errors="replace").strip().splitlines()
        return "\n".join(f"    {line}" for line in lines[-LAST_LINES:])

    def obituary(self) -> str:
        """Say how the process ended, and what it said last."""
        return f"{self.name} ended ({self.death}). The end of its log:\n{self.last_lines()}"

    def signal(self, number: int) -> None:
        """Send a signal, such as SIGSTOP and SIGCONT."""
        os.kill(self.pid, number)

    def stop(self, number: int | None = None) -> None:
        """End the process by this signal (default: as an operator does) and its children too.

        Returns when all are gone. After `GRACE` seconds they are killed.
        """
        process = self.process
        if process is None:
            return
        family = descendants(process.pid)
        if process.poll() is None:
            process.send_signal(number or self.end_signal)
            # A frozen process gets the signal when it goes on.
            process.send_signal(signal.SIGCONT)
        if not wait_until(lambda: process.poll() is not None, GRACE, pause=0.02):
            process.kill()
            process.wait()
        # When the process that started them is killed, nginx's processes go on.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        if not wait_until(lambda: not any(map(is_alive, family)), ORPHANS_GRACE, pause=0.02):
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not any(map(is_alive, family)), GRACE, pause=0.02)
        self.process = None


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits to be collected does not."""
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
    """Return the main group of a user of this machine; None for None, who is ourselves."""
    if user is None:
        return None
    import pwd  # not on Windows

    return pwd.getpwnam(user).pw_gid
