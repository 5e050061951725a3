"""The stack: control all parts together, or one part by itself."""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from course.core.ports import HOST, free_port
from course.core.processes import clean_environment, undisturbed
from course.core.steps import copy_files, find_step, step_files
from course.core.terminal import UserError
from course.stack import services
from course.stack.part import Part
from course.stack.programs import find_programs
from course.stack.services import copy_tree, write_private
from course.stack.workers import WORKERS

STEP = "step05_deploy"
POOL = 20  # the database connections of one worker, as in the step's settings


class Stack:
    """Step 5 on PostgreSQL, Redis, several workers and nginx; also a context manager.

    `port` is the port of nginx (default: a free port). `workers` is the number of workers, which
    run under `server`, "uvicorn" or "daphne". `shards` is the number of Redis servers. `variables`
    are more environment variables for the workers. `code` is the folder with the step's code
    (default: step 5 itself). The parts are called postgres, redis1, redis2 …, worker1, worker2 …
    and nginx.

    `prepared` is a folder that the `keep` of another stack has filled. This stack then begins with
    the site, database and password of the other stack, because new ones would slow the tests down.
    """

    def __init__(
        self,
        port: int | None = None,
        workers: int = 2,
        server: str = "uvicorn",
        shards: int = 1,
        variables: Mapping[str, str] | None = None,
        python: Path = Path(sys.executable),
        code: Path | None = None,
        prepared: Path | None = None,
    ) -> None:
        self.port = port or free_port()
        self.host = f"{HOST}:{self.port}"
        self.url = f"http://{self.host}"
        self.server = server
        self.python = python
        self.variables = dict(variables or {})
        self.code = code or find_step(STEP).folder
        self.made: tempfile.TemporaryDirectory[str] | None = None
        self.parts: dict[str, Part] = {}
        self.worker_names = [f"worker{number}" for number in range(1, workers + 1)]
        self.redis_names = [f"redis{number}" for number in range(1, shards + 1)]
        self.prepared = prepared
        if prepared:
            self.password = (prepared / "password").read_text("utf-8")
        else:
            self.password = secrets.token_urlsafe(24)
        self.ports = {
            name: free_port() for name in ["postgres", *self.redis_names, *self.worker_names]
        }

    # Addresses, processes, folders.

    @property
    def database_url(self) -> str:
        """The address of the database, with its password."""
        return f"postgres://chat:{self.password}@{HOST}:{self.ports['postgres']}/postgres"

    @property
    def redis_urls(self) -> list[str]:
        """The addresses of the Redis servers, with their password."""
        return [f"redis://:{self.password}@{HOST}:{self.ports[name]}" for name in self.redis_names]

    @property
    def worker_hosts(self) -> list[str]:
        """The host:port of each worker."""
        return [f"{HOST}:{self.ports[name]}" for name in self.worker_names]

    @property
    def worker_urls(self) -> list[str]:
        """The addresses of the workers themselves; requests to them bypass nginx."""
        return [f"http://{host}" for host in self.worker_hosts]

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each running part, by its name."""
        return {name: part.pid for name, part in self.parts.items() if part.running}

    @property
    def folder(self) -> Path:
        """The folder of all files; raises RuntimeError while the stack is not up."""
        if self.made is None:
            raise RuntimeError("the stack is not up")
        return Path(self.made.name)

    @property
    def site(self) -> Path:
        """The folder that the workers run in: a copy of the step."""
        return self.folder / "site"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of a worker, and of `manage.py` in `site`."""
        return clean_environment() | {
            "PYTHONUNBUFFERED": "1",
            "DJANGO_DEBUG": "off",
            "DJANGO_SECRET_KEY": self.password,
            "DJANGO_ALLOWED_HOSTS": f"{HOST},localhost",
            "DJANGO_CSRF_TRUSTED_ORIGINS": f"{self.url},http://localhost:{self.port}",
            "DATABASE_URL": self.database_url,
            "REDIS_URL": ",".join(self.redis_urls),
            **self.variables,
        }

    def log(self, name: str) -> str:
        """Return the log of a part so far."""
        return self.parts[name].log.read_text("utf-8", errors="replace")

    def dead(self) -> list[Part]:
        """Return the parts that ended without a call of `stop`."""
        return [p for p in self.parts.values() if p.process is not None and not p.running]

    # Control one part.

    def start(self, name: str) -> None:
        """Start a part again, on the same port, with the same data; wait until it is ready."""
        self.parts[name].start()

    def stop(self, name: str, number: int | None = None) -> None:
        """End a part by a signal such as SIGKILL (default: the part's own); wait for the end."""
        self.parts[name].stop(number)

    def restart(self, name: str, number: int | None = None) -> None:
        """Stop a part and start it again."""
        self.stop(name, number)
        self.start(name)

    def signal(self, name: str, number: int) -> None:
        """Send a signal: SIGSTOP freezes the part, SIGCONT wakes it, SIGHUP reloads nginx."""
        self.parts[name].signal(number)

    def manage(self, *arguments: str, **variables: str) -> str:
        """Run a command of `manage.py` against the stack, with more environment variables.

        Returns the output; raises UserError with the output if the command fails.
        """
        done = subprocess.run(
            [str(self.python), "manage.py", *arguments],
            cwd=self.site,
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        output = done.stdout.decode(errors="replace")
        if done.returncode != 0:
            raise UserError(f"manage.py {arguments[0]} failed. It said:\n{output.strip()}")
        return output

    # Control the whole stack.

    def up(
        self,
        started: Callable[[Part], None] = lambda part: None,
        doing: Callable[[str], None] = lambda text: None,
    ) -> Self:
        """Start all parts and return the stack.

        Calls `started` with each part that is ready, and `doing` with a text for each action. If a
        part fails, stops all parts, removes all files, and raises UserError.
        """
        if os.name == "nt":
            raise UserError("The stack needs Linux or macOS; on Windows, use WSL.")
        programs = find_programs(self.python)
        self.made = tempfile.TemporaryDirectory(prefix="chat-stack-")
        try:
            self.lay_out(programs, doing)
            for name, part in self.parts.items():
                if name == self.worker_names[0] and not self.prepared:
                    doing("Preparing the database")
                    self.manage("migrate", "--verbosity=0")
                doing(f"Starting {name}")
                part.start()
                started(part)
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """Stop all parts, nginx first and PostgreSQL last, and remove every file."""
        with undisturbed():
            for name in ("nginx", "worker", "redis", "postgres"):
                found = [part for key, part in self.parts.items() if key.startswith(name)]
                for part in found:
                    if part.running:
                        part.signal(signal.SIGCONT)
                        part.signal(part.end_signal)
                for part in found:
                    part.stop()
            if self.made:
                services.free_memory(self.folder)
                self.made.cleanup()
                self.made = None

    def keep(self, folder: Path) -> None:
        """Stop PostgreSQL; copy site, database and password to a new folder for other stacks."""
        self.stop("postgres")
        folder.mkdir(0o700)
        write_private(folder / "password", self.password)
        copy_tree(self.site, folder / "site")
        copy_tree(self.folder / "postgres" / "data", folder / "data")

    def __enter__(self) -> Self:
        return self.up()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    # Make the stack.

    def lay_out(self, programs: dict[str, Path], doing: Callable[[str], None]) -> None:
        """Write the files of the stack, and list the parts in the order in which they start."""
        if self.prepared:
            copy_tree(self.prepared / "site", self.site)
        else:
            copy_files(step_files(self.code), self.code, self.site)
            doing("Collecting static files")
            self.manage("collectstatic", "--noinput", "--verbosity=0")
        doing("Making a database")
        self.add_services(programs)
        for name in self.worker_names:
            self.add_worker(name, WORKERS[self.server], self.ports[name], self.environment)
        self.add(services.nginx(programs["nginx"], self.folder, self.port, self.worker_hosts))

    def add(self, part: Part) -> Part:
        """Add a part, and return it."""
        self.parts[part.name] = part
        return part

    def add_services(self, programs: dict[str, Path]) -> None:
        """Add PostgreSQL and Redis."""
        if os.getuid() == 0:
            # PostgreSQL runs as another user, who needs access to the data in this folder.
            self.folder.chmod(0o711)
        port = self.ports["postgres"]
        connections = POOL * (len(self.worker_names) + 1)
        kept = self.prepared / "data" if self.prepared else None
        program = programs["postgres"]
        self.add(services.postgres(program, self.folder, port, self.password, connections, kept))
        for name in self.redis_names:
            program, port = programs["redis"], self.ports[name]
            self.add(services.redis(name, program, self.folder, port, self.password))

    def add_worker(self, name: str, words: list[str], port: int, env: dict[str, str]) -> Part:
        """Add a worker, and return it; `words` are its command line for Python."""
        command = [str(self.python), *(word.format(port=port) for word in words)]
        log = self.folder / f"{name}.log"
        return self.add(Part(name, command, port, self.site, log, env))
