"""A copy of a step runs in its own folder, with its own environment."""

import subprocess
import sys
from pathlib import Path

import pytest

from course.checks.tools.conftest import HERE, run_course
from course.core import environment
from course.core.processes import clean_environment
from course.core.steps import Step
from course.learn import standalone
from course.learn.results import read_junit


def test_the_four_plain_commands_are_run(tested):
    """The log shows the commands as a reader types them, and that `/` is served."""
    python, pip = (environment.venv_program(Path(".venv"), name) for name in ("python", "pip"))
    log = (tested.root / ".course" / "logs" / "step01_echo.log").read_text()
    commands = [line[2:] for line in log.splitlines() if line.startswith("$ ")]
    assert commands[0].endswith("-m venv .venv")
    assert commands[1] == f"{pip} install -r requirements.txt"
    assert commands[2] == f"{python} manage.py migrate"
    assert commands[3].startswith(f"{python} manage.py runserver 127.0.0.1:")
    assert commands[4].startswith(f"{python} -m pytest")
    assert "/: OK\n" in log


def test_a_warm_run_makes_no_environment_and_forgets_old_files(tested):
    """The environment is kept, and old files of the step or of a run are deleted."""
    copy = tested.root / ".course" / "standalone" / "step01_echo"
    for name in ("old.py", "db.sqlite3", "tests/test_old.py"):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).touch()
    shown = run_course("standalone", "1", root=tested.root)
    assert shown.returncode == 0
    assert "The environment is up to date." in shown.stdout
    assert "-m venv" not in shown.stdout
    left = {path.name for path in copy.iterdir()} - {".venv", "__pycache__"}
    assert left == {"manage.py", "pytest.py", "requirements.txt"}


@pytest.mark.parametrize(
    ("changed", "old", "new"),
    [
        ("requirements.txt", "django", "django==5.2.1"),
        ("requirements.lock", "5.2", "5.2.1"),
        (f".venv/{environment.STAMP}", environment.python_version(), "3.8"),
    ],
)
def test_what_is_installed_follows_the_requirements(tmp_path, monkeypatch, changed, old, new):
    """New requirements, a new lock file or a new Python make the environment anew, and empty."""
    made = []

    def run_shown(command, copy, env):
        made.append(command)
        python = environment.venv_program(copy / ".venv", "python")
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()
        return 0

    monkeypatch.setattr(standalone, "run_shown", run_shown)
    lock = tmp_path / "requirements.lock"
    lock.write_text("django==5.2\n")
    (tmp_path / "requirements.txt").write_text("django\n")
    for expected in (2, 2, 4):  # venv and pip, once, and then again
        if expected == 4:
            (tmp_path / ".venv" / "old").touch()
            (tmp_path / changed).write_text((tmp_path / changed).read_text().replace(old, new))
        standalone.install(Step(1, "echo", tmp_path), tmp_path, lock, {})
        assert len(made) == expected
    assert not (tmp_path / ".venv" / "old").exists()


def test_only_the_first_step_pays_for_the_plain_commands(tmp_path, monkeypatch):
    """Later steps get their environment from uv, each in its own copy."""
    monkeypatch.setattr(environment, "ensure", lambda *arguments: made.append(arguments))
    made, files = [], [tmp_path / "requirements.txt"]
    (tmp_path / "requirements.lock").touch()
    files[0].touch()
    step, lock = Step(2, "x", tmp_path), tmp_path / "requirements.lock"
    standalone.install(step, tmp_path, lock, {})
    assert made == [(files, f"Installing the packages of {step.label}", tmp_path, tmp_path)]


def test_nothing_of_the_repository_leaks_in(monkeypatch, tmp_path):
    """The step gets no settings, path or service from the shell."""
    for name in ("PYTHONPATH", "DATABASE_URL", "REDIS_URL", "DJANGO_DEBUG", "PYTEST_ADDOPTS"):
        monkeypatch.setenv(name, "leak")
    env = standalone.standalone_environment(tmp_path / "requirements.lock")
    assert "leak" not in env.values()
    assert env["PIP_CONSTRAINT"] == (tmp_path / "requirements.lock").as_uri()


def test_the_lock_holds_in_a_folder_with_a_space(tmp_path):
    """Pip splits a path at spaces, but not a URL. A version outside the lock is refused."""
    lock = tmp_path / "my コース" / "requirements.lock"
    lock.parent.mkdir()
    lock.write_text("six==1.0.0\n")
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--dry-run", "six==2.0.0"]
    env = standalone.standalone_environment(lock)
    refused = subprocess.run(command, env=env, capture_output=True, text=True)
    assert "conflicting dependencies" in refused.stderr


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
