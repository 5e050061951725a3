"""The parts around the workers: Redis, PostgreSQL and nginx, with all their files in one folder."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from course.core.ports import HOST
from course.stack.part import Part
from course.stack.programs import unprivileged, within_reach

# The main configuration of nginx includes the file that an operator copies, as in the system's
# nginx. Every path is in the stack's own folder.
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
        text/javascript js;
        image/png png;
        image/svg+xml svg;
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


def redis(name: str, program: Path, folder: Path, port: int, password: str) -> Part:
    """Return a Redis that stores nothing on disk.

    The password is in a file, because every user of the machine can see command lines.
    """
    file = folder / f"{name}.conf"
    settings = {"bind": HOST, "port": port, "requirepass": password}
    settings |= {"save": '""', "dir": f'"{folder}"'}
    write_private(file, "".join(f"{key} {value}\n" for key, value in settings.items()))
    return Part(name, [str(program), str(file)], port, folder, folder / f"{name}.log")


def postgres(program: Path, folder: Path, port: int, password: str, connections: int) -> Part:
    """Return a PostgreSQL with its data in `folder`; make an empty database if there is none."""
    home = folder / "postgres"
    data = home / "data"
    home.mkdir(0o700, exist_ok=True)
    user = unprivileged()
    program = program.resolve()  # the folder of a link may have no initdb
    if user:
        shutil.chown(home, user["user"])
        program = within_reach(program, user, home)
    if not data.exists():
        make_database(program, data, user, password)
    settings = {
        "listen_addresses": HOST,
        "unix_socket_directories": "",
        # After a kill, the system's shared memory would remain; mmap uses files in `data`.
        "dynamic_shared_memory_type": "mmap",
        "max_connections": connections,
    }
    command = [str(program), "-D", str(data), "-p", str(port)]
    command += [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    # After SIGTERM, PostgreSQL would wait until all clients have disconnected.
    log = folder / "postgres.log"
    part = Part("postgres", command, port, home, log, user=user, end_signal=signal.SIGINT)

    def ready() -> bool:
        """Tell whether recovery has ended; PostgreSQL accepts connections even before its end."""
        state = data / "postmaster.pid"
        words = state.read_text().split() if state.exists() else []
        # A killed PostgreSQL leaves its file behind, with another process id.
        return words[:1] == [str(part.pid)] and words[-1] == "ready"

    part.ready = ready
    return part


def free_memory(folder: Path) -> None:
    """Free the system's shared memory that a killed PostgreSQL in `folder` left behind.

    By these few bytes, PostgreSQL checks that no other process uses its data. A PostgreSQL that
    ends normally removes the file and the memory.
    """
    file = folder / "postgres" / "data" / "postmaster.pid"
    lines = file.read_text().splitlines() if file.exists() else []
    for line in lines[6:7]:  # key and number
        subprocess.run(["ipcrm", "-m", line.split()[1]], capture_output=True)


def make_database(program: Path, data: Path, user: dict[str, Any], password: str) -> None:
    """Make an empty database with a password in the folder `data`, for `user`."""
    secret = data.with_name("password")
    write_private(secret, password)
    if user:
        shutil.chown(secret, user["user"])
    command = [str(program.with_name("initdb")), "-D", str(data), "-U", "chat", "-E", "UTF8"]
    command += ["--locale=C", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"]
    Part("initdb", command, 0, data.parent, data.with_name("initdb.log"), user=user).run()


def nginx(program: Path, folder: Path, port: int, workers: list[str]) -> Part:
    """Return an nginx with the site's own `deploy/nginx.conf`, adapted to this stack.

    `workers` are host:port; the site is the folder `site` in `folder`.
    """
    source = (folder / "site" / "deploy" / "nginx.conf").read_text("utf-8")
    site = folder / "site.conf"
    site.write_text(fit_nginx(source, port, workers, folder), "utf-8")
    user = "user root;" if os.getuid() == 0 else ""
    main = folder / "nginx.conf"
    main.write_text(NGINX_MAIN.format(user=user, folder=folder, site=site), "utf-8")
    command = [str(program), "-p", str(folder), "-e", "stderr", "-c", str(main)]
    return Part("nginx", command, port, folder, folder / "nginx.log")


def fit_nginx(text: str, port: int, workers: list[str], folder: Path) -> str:
    """Return `text`, that of `deploy/nginx.conf`, with the places marked YOURS replaced.

    `workers` are host:port; `folder` gets the access log and has the static files in `site`.
    """
    for line in re.findall(r"^ *server 127\.0\.0\.1:8001 .*\n", text, re.MULTILINE):
        lines = [line.replace("127.0.0.1:8001", worker) for worker in workers]
        text = text.replace(line, "".join(lines))
    text = re.sub(r" *server 127\.0\.0\.1:8002 .*\n", "", text)
    for old, new in {
        "    listen 80;\n    server_name chat.example;\n": f"    listen {HOST}:{port};\n",
        "/srv/chat/staticfiles/": f'"{folder}/site/staticfiles/"',
        "/var/log/nginx/access.log": f'"{folder}/access.log"',
    }.items():
        if text.count(old) != 1:
            raise ValueError(f"deploy/nginx.conf has no line {old.strip()!r}")
        text = text.replace(old, new)
    return text


def write_private(file: Path, text: str) -> None:
    """Write a file that no other user can read."""
    file.touch(0o600)
    file.write_text(text, "utf-8")
