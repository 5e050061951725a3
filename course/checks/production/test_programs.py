"""The programs of the stack: which are used, and what is said when one is missing or fails."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from course.core.ports import free_port
from course.core.steps import ROOT
from course.core.terminal import UserError
from course.stack.part import Part
from course.stack.programs import find_programs, within_reach
from course.stack.services import fit_nginx

NGINX = (ROOT / "step05_deploy" / "deploy" / "nginx.conf").read_text()


def test_programs_of_the_machine_come_first(tmp_path, monkeypatch):
    """Without them, the programs of the environment are used."""
    monkeypatch.setattr("course.stack.programs.MORE_FOLDERS", [])
    monkeypatch.setenv("PATH", str(tmp_path))
    ours = find_programs(Path(sys.executable))
    venv = Path(sys.executable).parent.parent.resolve()
    assert all(venv in program.parents for program in ours.values())
    for name in ("redis-check-rdb", "nginx", "postgres"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    # As on Debian: one program that knows by its name what to be.
    (tmp_path / "redis-server").symlink_to("redis-check-rdb")
    found = find_programs(Path(sys.executable))
    assert list(found.values()) == [
        tmp_path / name for name in ("redis-server", "postgres", "nginx")
    ]


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    """The error names the missing program, and the command that installs it."""
    monkeypatch.setattr("course.stack.programs.shutil.which", lambda name, path: None)
    with pytest.raises(UserError, match=r"There is no redis here.*sudo apt install redis-server"):
        find_programs(tmp_path / "bin" / "python")


def test_a_program_that_fails_is_told_with_its_words(tmp_path):
    """The error comes at once, not after a time-out, with the end of the program's log."""
    command = [sys.executable, "-c", "raise SystemExit('no room on the disk')"]
    part = Part("redis1", command, free_port(), tmp_path, tmp_path / "log")
    with pytest.raises(UserError, match=r"redis1 ended \(exit code 1\)[\s\S]*no room on the disk"):
        part.start()


def test_the_stacks_nginx_is_the_operators(tmp_path):
    """The two files differ only in the lines that are marked YOURS."""
    made = fit_nginx(NGINX, 8080, ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"], tmp_path)
    before, after = set(NGINX.splitlines()), set(made.splitlines())
    assert sorted(line.split()[0] for line in before - after) == [
        *("access_log", "alias", "listen", *["server"] * 4, "server_name")
    ]
    assert sorted(line.split()[0] for line in after - before) == [
        *("access_log", "alias", "listen", *["server"] * 6)
    ]
    with pytest.raises(ValueError, match="listen 80"):
        fit_nginx(NGINX.replace("listen 80;", "listen 81;"), 8080, [], tmp_path)


if os.name != "nt" and os.getuid() == 0:

    def test_root_runs_postgresql_also_from_a_folder_of_its_own(tmp_path):
        """If only root can reach a program, the user who runs PostgreSQL gets a copy of it."""
        program = tmp_path / "closed" / "bin" / "postgres"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\necho here")
        program.chmod(0o755)
        program.parent.parent.chmod(0o700)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            nobody = {"user": "nobody"}
            copy = within_reach(program, nobody, Path(folder))
            Path(folder, "program").chmod(0o755)
            assert copy != program
            assert subprocess.check_output([copy], **nobody) == b"here\n"
            assert within_reach(copy, nobody, Path(folder)) == copy
