"""Start child processes, wait for them, and end them with all their descendants."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# In hooks and rebases, git sets these variables for the commands that it runs. The variables lead
# a git command in any folder to the reader's repository, so a test would commit to this repository.
GIT_PLACES = {"GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE", "GIT_PREFIX", "GIT_INDEX_FILE"}
GIT_PLACES |= {"GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"}
# Variables of another project, which would stop a step; and PYTHONDONTWRITEBYTECODE, common in
# container images, which makes each start compile the step and its packages again.
FOREIGN = {"DJANGO_SETTINGS_MODULE", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV"}
FOREIGN |= {"PYTHONDONTWRITEBYTECODE"}
# With these variables as well, a step would not behave as its tests expect.
LEAKS = FOREIGN | {"DATABASE_URL", "REDIS_URL"}
# Windows cannot interrupt a single process.
INTERRUPT = signal.SIGTERM if os.name == "nt" else signal.SIGINT
LEAK_PREFIXES = ("DJANGO_", "PYTEST_")


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
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP.
            signal.signal(getattr(signal, name), signal.default_int_handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C in this block, so that work such as stopping children is finished."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def parents() -> dict[int, int]:
    """Return the parent of each process, by process ids; nothing on Windows."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The format is "pid (name) state ppid …"; the name may contain spaces and brackets.
            text = stat.read_text(errors="replace")
            found[int(stat.parent.name)] = int(text.rpartition(")")[2].split()[1])
    if found or os.name == "nt":
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


def processor_seconds(*pids: int) -> float:
    """Return the processor time of some processes so far, with that of their ended children."""
    found = 0.0
    for pid in pids:
        with suppress(OSError):  # the process has just ended
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return found


def start_job(
    command: Sequence[str],
    log: Path,
    cwd: Path,
    env: Mapping[str, str],
    mode: str = "wb",
    **settings: Any,
) -> subprocess.Popen[bytes]:
    """Start `command` with its output in `log`, opened in `mode`; return the process.

    In its own session, a job gets no Ctrl-C from the terminal. `settings` are those of subprocess.
    """
    with log.open(mode) as output:
        settings |= {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd=cwd, env=env, start_new_session=True, **settings)


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.05) -> bool:
    """Call `condition` until it is true; return False if `seconds` pass before that."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


def end(
    processes: Sequence[subprocess.Popen[bytes]],
    patience: float = 0.0,
    grace: float = 5.0,
    number: int = INTERRUPT,
) -> None:
    """End `processes` and all their descendants.

    First wait `patience` seconds, because a terminal's Ctrl-C may have reached the processes. Then
    send the signal `number` and wait `grace` seconds. Then kill all that still run.
    """

    def alive() -> list[subprocess.Popen[bytes]]:
        return [process for process in processes if process.poll() is None]

    family = descendants(*(process.pid for process in processes))
    wait_until(lambda: not alive(), patience)
    for process in alive():
        process.send_signal(number)
        if os.name != "nt":  # A frozen process handles the signal only after SIGCONT.
            process.send_signal(signal.SIGCONT)
    wait_until(lambda: not alive(), grace)
    family |= descendants(*(process.pid for process in alive()))
    for process in alive():
        process.kill()
        process.wait()
    for pid in family:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    for process in processes if os.name != "nt" else ():
        # A job leads its own process group, whose id is that of the job; other children do not.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def stop(*processes: subprocess.Popen[bytes], patience: float = 0.0, grace: float = 5.0) -> None:
    """End `processes` and all their descendants, undisturbed by Ctrl-C."""
    with undisturbed():
        end(processes, patience, grace)


def run_to_the_end(
    command: Sequence[str],
    cwd: Path,
    env: Mapping[str, str] | None = None,
    patience: float = 0.0,
) -> int:
    """Run `command` in our terminal; return its exit code. After Ctrl-C, stop the command."""
    process = subprocess.Popen(command, cwd=cwd, env=env)
    try:
        return process.wait()
    except KeyboardInterrupt:
        stop(process, patience=patience, grace=10.0)
        raise
