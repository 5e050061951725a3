"""A copy of a step runs in its own folder, with its own environment."""

import sys
from pathlib import Path

import pytest

from course.checks.tools.conftest import HERE, run_course
from course.core import environment
from course.core.processes import clean_environment
from course.learn import standalone
from course.learn.results import read_junit


def test_a_copy_is_migrated_served_and_tested(tested):
    """The log shows the commands, which run in the copy's own environment."""
    log = (tested.root / ".course" / "logs" / "step01_echo.log").read_text()
    commands = [line[2:] for line in log.splitlines() if line.startswith("$ ")]
    assert commands[0] == "python manage.py migrate"
    assert commands[1].startswith("python manage.py runserver 127.0.0.1:")
    assert commands[2].startswith("python -m pytest")
    assert "/: OK\n" in log
    copy = tested.root / ".course" / "standalone" / "step01_echo"
    assert "requirements.txt" in (copy / ".venv" / environment.STAMP).read_text()


def test_a_warm_run_makes_no_environment_and_forgets_old_files(tested):
    """The environment is kept, and old files of the step or of a run are deleted."""
    copy = tested.root / ".course" / "standalone" / "step01_echo"
    for name in ("old.py", "db.sqlite3", "tests/test_old.py"):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).touch()
    shown = run_course("standalone", "1", root=tested.root)
    assert shown.returncode == 0
    assert "Creating the environment" not in shown.stdout
    assert "Installing" not in shown.stdout
    left = {path.name for path in copy.iterdir()} - {".venv", "__pycache__"}
    assert left == {"manage.py", "pytest.py", "requirements.txt"}


def test_nothing_of_the_repository_leaks_in(monkeypatch):
    """The step gets no settings, path or service from the shell."""
    for name in ("PYTHONPATH", "DATABASE_URL", "REDIS_URL", "DJANGO_DEBUG", "PYTEST_ADDOPTS"):
        monkeypatch.setenv(name, "leak")
    assert "leak" not in clean_environment().values()


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"FAKE_STATUS": "500"}, "GET http.* failed: HTTP Error 500"),
        ({"FAKE_CODE": "3"}, "runserver ended by itself with exit code 3"),
    ],
)
def test_a_server_that_does_not_serve_fails_the_proof(tmp_path, variables, reason):
    """The reason names the status or the exit code."""
    (tmp_path / "manage.py").write_bytes((HERE / "fake_manage.py").read_bytes())
    with pytest.raises(standalone.ProofFailed, match=reason):
        standalone.serve_once(tmp_path, Path(sys.executable), clean_environment() | variables)


def test_a_failed_proof_is_a_failed_test(tested, tmp_path):
    """If a command before pytest fails, a result names the command."""
    arguments = ["standalone", "1", "--results", str(tmp_path)]
    failed = run_course(*arguments, root=tested.root, FAKE_MIGRATE="4")
    assert failed.returncode == 1
    assert "step01_echo does not run on its own" in failed.stderr
    (proof,) = read_junit(tmp_path / "proof.xml")
    assert (proof.id, proof.outcome) == ("runs on its own", "failed")
    assert "manage.py migrate` ended with exit code 4" in proof.message
