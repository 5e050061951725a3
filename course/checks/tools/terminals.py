"""Commands in their own terminals, as a person types them."""

import os
import pty
import select
import signal
import time
from collections.abc import Mapping
from pathlib import Path


class Terminal:
    """A command in its own terminal; `seen` is the output so far."""

    def __init__(self, command: list[str], cwd: Path, env: Mapping[str, str]) -> None:
        self.seen = ""
        self.code = None
        self.pid, self.screen = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execvpe(command[0], command, env)

    def read(self, until: str | None = None, seconds: float = 30.0, after: int = 0) -> None:
        """Read until the text `until` appears after position `after`; with None, to the end."""
        end = time.monotonic() + seconds
        while until is None or until not in self.seen[after:]:
            left = end - time.monotonic()
            assert left > 0, f"waited in vain for {until!r}, saw:\n{self.seen}"
            if select.select([self.screen], [], [], left)[0]:
                try:
                    data = os.read(self.screen, 65536)
                except OSError:  # On Linux: no process has the terminal open any more.
                    data = b""
                if not data:
                    assert until is None, f"ended without {until!r}, saw:\n{self.seen}"
                    return
                self.seen += data.decode(errors="replace").replace("\r\n", "\n")

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.screen, text.encode())

    def wait(self) -> int:
        """Read to the end; return the exit code, or minus the number of the signal."""
        self.read()
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def close(self) -> None:
        """End what is still running."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.screen)
