"""Start child processes, wait for them, and end them with all their descendants."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from course.core.terminal import Progress

# In hooks and rebases, git sets these variables for the commands that it runs. The variables lead
# a git command in any folder to the reader's repository, so a test would commit to this repository.
# The list is that of `git rev-parse --local-env-vars`, without the two for settings.
GIT_PLACES = (
    *("GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_PREFIX"),
    *("GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"),
    *("GIT_GRAFT_FILE", "GIT_SHALLOW_FILE", "GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE"),
    *("GIT_INTERNAL_SUPER_PREFIX", "GIT_CONFIG"),
)
# Variables of the learner's shell or of this repository that would change how a step behaves.
# PYTHONDONTWRITEBYTECODE, common in container images, makes each start compile the step again.
LEAKS = (
    *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "DATABASE_URL", "REDIS_URL"),
    "PYTHONDONTWRITEBYTECODE",
    *GIT_PLACES,
)
LEAK_PREFIXES = ("DJANGO_", "PYTEST_")


class CommandFailed(Exception):
    """A command ended with a code other than 0; `output` is all it printed."""

    def __init__(self, command: Sequence[str], code: int, output: str) -> None:
        super().__init__(f"{' '.join(command)} ended with exit code {code}")
        self.code = code
        self.output = output


def clean_environment() -> dict[str, str]:
    """Return the environment without the variables that could change how a step behaves."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in LEAKS and not name.startswith(LEAK_PREFIXES)
    }


def forget_git() -> None:
    """Delete `GIT_PLACES` from our environment, so that git uses the folder it starts in."""
    for name in GIT_PLACES:
        os.environ.pop(name, None)


def interrupt_on_signals() -> None:
    """Make SIGINT, SIGTERM and a closed terminal raise KeyboardInterrupt.

    SIGINT needs a handler as well, because a shell starts background commands with SIGINT ignored.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.default_int_handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C in this block, so that work such as stopping children is finished."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def parents() -> dict[int, int]:
    """Return the parent of each process on this POSIX system; both are process ids."""
    if Path("/proc/self/stat").exists():
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                # The format is "pid (name) state ppid …"; the name may contain spaces and brackets.
                text = stat.read_text(errors="replace")
                found[int(stat.parent.name)] = int(text.rpartition(")")[2].split()[1])
        return found
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True)
    return {int(pid): int(parent) for pid, parent in map(str.split, listing.stdout.splitlines())}


def descendants(*pids: int) -> set[int]:
    """Return the process ids of all children of `pids`, their children, and so on."""
    parent_of = parents()
    family = set(pids)
    while more := {pid for pid, parent in parent_of.items() if parent in family} - family:
        family |= more
    return family - set(pids)


def start_job(
    command: Sequence[str], log: Path, cwd: Path, env: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start `command` in its own process group, with its output in `log`; return the process."""
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_for(
    processes: Sequence[subprocess.Popen[bytes]], seconds: float
) -> list[subprocess.Popen[bytes]]:
    """Wait until `processes` have ended, at most `seconds`; return those still running."""
    wait_until(lambda: all(process.poll() is not None for process in processes), seconds)
    return [process for process in processes if process.poll() is None]


def stop(*processes: subprocess.Popen[bytes], patience: float = 0.0, grace: float = 5.0) -> None:
    """End `processes` and all their descendants.

    First wait `patience` seconds, because a terminal's Ctrl-C may have reached the processes. Then
    send SIGINT and wait `grace` seconds. Then kill all that still run.
    """
    with undisturbed():
        if os.name == "nt":
            for process in wait_for(processes, patience):
                tree = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
                subprocess.run(tree, capture_output=True)
                process.wait()
            return
        family = descendants(*(process.pid for process in processes))
        alive = wait_for(processes, patience)
        for process in alive:
            process.send_signal(signal.SIGINT)
        alive = wait_for(alive, grace)
        family |= descendants(*(process.pid for process in alive))
        for process in alive:
            process.kill()
            process.wait()
        for pid in family:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for process in processes:
            # A job leads its own process group, whose id is that of the job; other children do not.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def run_quietly(
    command: Sequence[str | Path],
    progress: Progress,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run `command` while `progress` ticks; return its output. Raise CommandFailed on failure."""
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                progress.tick()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
        except KeyboardInterrupt:
            progress.line.clear()
            stop(process, patience=1.0)
            raise
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode != 0:
        progress.line.clear()
        raise CommandFailed(words, process.returncode, text)
    return text


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.05) -> bool:
    """Call `condition` until it is true; return False if `seconds` pass before that."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True
