"""The stack: control all parts together, or one part by itself."""

import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from course.core.ports import HOST, free_port
from course.core.processes import clean_environment, undisturbed
from course.core.steps import copy_files, find_step, step_files
from course.core.terminal import UserError
from course.stack import services
from course.stack.part import Part
from course.stack.programs import find_programs
from course.wire import APPLICATION as TRACED

STEP = "step05_deploy"
POOL = 20  # the database connections of one worker, as in the step's settings
APPLICATION = "config.asgi:application"
# The command lines of the workers, for Python; `{port}` is the port of the worker. `course/` has
# them only here. Tests compare the files in step 5's `deploy/` with this list.
WORKERS = {
    "uvicorn": [
        *("-m", "uvicorn", APPLICATION, "--host", HOST, "--port", "{port}"),
        *("--proxy-headers", "--forwarded-allow-ips", HOST, "--no-access-log"),
        *("--ws-max-size", "65536", "--ws-per-message-deflate", "false"),
        # Without a limit, a stop waits for ever for a client that does not read.
        *("--timeout-graceful-shutdown", "8"),
    ],
    "daphne": [
        *("-m", "daphne", "-b", HOST, "-p", "{port}", "--proxy-headers", "-v", "0"),
        APPLICATION,
    ],
}
SERVERS = tuple(WORKERS)


class Stack:
    """Step 5 on PostgreSQL, Redis, several workers and nginx; also a context manager.

    `port` is the port of nginx (default: a free port). `workers` is the number of workers, which
    run under `server`, "uvicorn" or "daphne". `shards` is the number of Redis servers. `variables`
    are more environment variables for the workers. `code` is the folder with the step's code
    (default: step 5 itself). `password` is that of the database, Redis and Django (default: a new
    one). If the stack is traced, `trace` returns the variables for a worker's name. The parts are
    called postgres, redis1, redis2 …, worker1, worker2 … and nginx.
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
        password: str = "",
        trace: Callable[[str], dict[str, str]] | None = None,
    ) -> None:
        self.port = port or free_port()
        self.host = f"{HOST}:{self.port}"
        self.url = f"http://{self.host}"
        self.server = server
        self.python = python
        self.variables = dict(variables or {})
        self.code = code or find_step(STEP).folder
        self.trace = trace
        self.password = password or secrets.token_urlsafe(24)
        self.made: tempfile.TemporaryDirectory[str] | None = None
        self.parts: dict[str, Part] = {}
        self.worker_names = [f"worker{number}" for number in range(1, workers + 1)]
        self.redis_names = [f"redis{number}" for number in range(1, shards + 1)]
        names = ["postgres", *self.redis_names, *self.worker_names]
        self.ports = {name: free_port() for name in names}
        self.worker_hosts = [f"{HOST}:{self.ports[name]}" for name in self.worker_names]
        self.worker_urls = [f"http://{host}" for host in self.worker_hosts]
        self.database_url = (
            f"postgres://chat:{self.password}@{HOST}:{self.ports['postgres']}/postgres"
        )
        self.redis_urls = [
            f"redis://:{self.password}@{HOST}:{self.ports[name]}" for name in self.redis_names
        ]

    @property
    def folder(self) -> Path:
        """The folder of all files, while the stack is up."""
        assert self.made
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

    def manage(self, *arguments: str) -> None:
        """Run a command of `manage.py` against the stack; raise UserError if the command fails."""
        command, log = [str(self.python), "manage.py", *arguments], self.folder / "manage.log"
        Part(f"manage.py {arguments[0]}", command, 0, self.site, log, self.environment).run()

    def up(self, started: Callable[[Part], None] = lambda part: None) -> Self:
        """Start all parts and return the stack; call `started` with each part that is ready.

        If a part fails, stops all parts, removes all files, and raises UserError.
        """
        if os.name == "nt":
            raise UserError("The stack needs Linux or macOS; on Windows, use WSL.")
        programs = find_programs(self.python)
        self.made = tempfile.TemporaryDirectory(prefix="chat-stack-")
        try:
            self.lay_out(programs)
            for name, part in self.parts.items():
                if name == self.worker_names[0]:
                    self.manage("migrate", "--verbosity=0")
                part.start()
                started(part)
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """Stop all parts, nginx first and PostgreSQL last, and remove every file."""
        with undisturbed():
            for kind in ("nginx", "worker", "redis", "postgres"):
                found = [part for name, part in self.parts.items() if name.startswith(kind)]
                with ThreadPoolExecutor() as pool:
                    list(pool.map(Part.stop, found))
            if self.made:
                services.free_memory(self.folder)
                self.made.cleanup()
                self.made = None

    def __enter__(self) -> Self:
        return self.up()

    def __exit__(self, *error: object) -> None:
        self.down()

    def lay_out(self, programs: dict[str, Path]) -> None:
        """Write the files of the stack, and list the parts in the order in which they start."""
        self.make_site()
        if os.getuid() == 0:
            # PostgreSQL runs as another user, who needs access to the data in this folder.
            self.folder.chmod(0o711)
        connections = POOL * (len(self.worker_names) + 1)
        place = self.folder, self.ports["postgres"], self.password
        self.parts["postgres"] = services.postgres(programs["postgres"], *place, connections)
        for name in self.redis_names:
            place = self.folder, self.ports[name], self.password
            self.parts[name] = services.redis(name, programs["redis"], *place)
        for name in self.worker_names:
            words, env = WORKERS[self.server], self.environment
            if self.trace:
                words = [TRACED if word == APPLICATION else word for word in words]
                env |= self.trace(name)
            self.add_worker(name, words, self.ports[name], env)
        nginx = services.nginx(programs["nginx"], self.folder, self.port, self.worker_hosts)
        self.parts["nginx"] = nginx

    def make_site(self) -> None:
        """Copy the code, and collect the static files."""
        copy_files(step_files(self.code), self.code, self.site)
        self.manage("collectstatic", "--noinput", "--verbosity=0")

    def add_worker(self, name: str, words: list[str], port: int, env: dict[str, str]) -> Part:
        """Add a worker, and return it; `words` are its command line for Python."""
        command = [str(self.python), *(word.format(port=port) for word in words)]
        log = self.folder / f"{name}.log"
        self.parts[name] = Part(name, command, port, self.site, log, env)
        return self.parts[name]
