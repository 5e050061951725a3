"""The environment: made once, reused, repaired."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from course.checks.tools.conftest import add_step, clean, run_course
from course.core import environment
from course.core.processes import start_job, wait_until
from course.core.steps import ROOT
from course.core.terminal import UserError


@pytest.fixture
def root(tmp_path):
    """A course with one step and no environment."""
    add_step(tmp_path, "step01_echo", {"requirements.txt": "django\n"})
    (tmp_path / "requirements.lock").write_text("django==5.2\n")
    return tmp_path


@pytest.fixture
def done(monkeypatch):
    """The list of environments and packages that would be made; none is really made."""
    calls = []

    def run_quietly(title, command, *_):
        words = [str(word) for word in command]
        if "venv" in words:
            calls.append("create")
            python = environment.venv_program(Path(words[-1]), "python")
            shutil.rmtree(words[-1], ignore_errors=True)
            python.parent.mkdir(parents=True)
            python.touch()
        else:
            files = [Path(words[i + 1]).name for i, word in enumerate(words) if word == "-r"]
            calls.append(f"install {' '.join(files)}")

    monkeypatch.setattr(environment, "run_quietly", run_quietly)
    return calls


def ensure(root: Path) -> None:
    """Prepare the environment for the step in `root`."""
    environment.ensure([root / "step01_echo" / "requirements.txt"], "Installing", root)


ONCE = ["create", "install requirements.txt"]


@pytest.mark.parametrize("changed", ["requirements.lock", "step01_echo/requirements.txt"])
def test_packages_are_installed_once_and_after_a_change(root, done, changed):
    """The new packages go into the same environment, also through a link to its folder."""
    ensure(root)
    linked = root.with_name(f"{root.name}-linked")
    linked.symlink_to(root)
    ensure(linked)
    assert done == ONCE
    (root / changed).write_text("django==5.2.1\n")
    ensure(root)
    assert done == [*ONCE, "install requirements.txt"]


def test_everything_includes_each_step(root, done):
    """After an installation of the whole course, no step needs an installation.

    `.venv` may be replaced, so its own Python cannot make the new environment.
    """
    environment.ensure_everything(root)
    ensure(root)
    assert done == ["create", "install requirements.lock requirements.txt"]
    assert ".venv" not in Path(environment.base_python()).parts


def test_the_packages_of_one_step_are_not_those_of_another(root, done):
    """Each step and the whole course get theirs, also after a change of the lock file."""
    other = add_step(root, "step02_groups", {"requirements.txt": "django\nredis\n"})
    for lock in ("django==5.2\n", "django==5.2.1\n"):
        (root / "requirements.lock").write_text(lock)
        ensure(root)
        environment.ensure([other / "requirements.txt"], "Installing", root)
        environment.ensure_everything(root)
    everything = "install requirements.lock requirements.txt requirements.txt"
    installed = ["install requirements.txt", "install requirements.txt", everything]
    assert done == ["create", *installed * 2]


@pytest.mark.parametrize("changed", ["requirements.lock", "step01_echo/requirements.txt"])
def test_the_environment_of_a_copy_has_nothing_else(root, done, changed):
    """After a change it is made anew, so a package that nobody names any more is gone."""
    step = root / "step01_echo"
    for _ in range(2):
        environment.ensure([step / "requirements.txt"], "Installing", root, step)
    assert done == ONCE
    (root / changed).write_text("django==5.2.1\n")
    environment.ensure([step / "requirements.txt"], "Installing", root, step)
    assert done == ONCE * 2


def change_stamp(venv: Path, old: str, new: str) -> None:
    """Replace a text in the stamp of an environment."""
    stamp = venv / environment.STAMP
    assert old in stamp.read_text()
    stamp.write_text(stamp.read_text().replace(old, new))


DAMAGES = {
    "the system was upgraded": lambda venv: environment.venv_program(venv, "python").unlink(),
    "another Python": lambda venv: change_stamp(venv, environment.python_version(), "3.8"),
    "an installation was stopped": lambda venv: (venv / environment.STAMP).unlink(),
    "half a stamp": lambda venv: (venv / environment.STAMP).write_text("Python"),
    "the course was moved": lambda venv: change_stamp(venv, venv.parent.name, "elsewhere"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_broken_environment_is_made_anew(root, done, damage):
    """The next command repairs the environment, whatever is broken."""
    ensure(root)
    damage(root / ".venv")
    ensure(root)
    assert done == ONCE * 2


def test_one_command_at_a_time(tmp_path):
    """The second command prints a sentence, and continues when the first command ends."""
    code = """
import sys
from pathlib import Path
from course.core.environment import alone
with alone(Path(sys.argv[1]), "sleeping"):
    print("here", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "new" / "lock")]
    pipes, log = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}, tmp_path / "log"
    with subprocess.Popen(command, cwd=ROOT, env=clean(), **pipes) as first:
        assert first.stdout.readline() == b"here\n"
        second = start_job(command, log, ROOT, clean())
        waiting = "Another command is sleeping: waiting for it.\n"
        assert wait_until(lambda: log.read_text() == waiting, 20)
    assert second.wait(20) == 0
    assert log.read_text() == f"{waiting}here\n"


@pytest.mark.parametrize(
    ("failure", "then"),
    [(KeyboardInterrupt, ONCE), (UserError, ["install requirements.txt"])],
)
def test_an_installation_that_does_not_end_well(root, done, monkeypatch, failure, then):
    """After Ctrl-C, the environment is made anew. An installer that failed has changed nothing."""
    ensure(root)
    (root / "requirements.lock").write_text("django==5.2.1\n")

    def fail(*_):
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(environment, "run_quietly", fail)
        with pytest.raises(failure):
            ensure(root)
    ensure(root)
    assert done == [*ONCE, *then]


def test_a_failed_command_ends_in_its_last_words():
    """The message has one sentence, advice, and the last eight lines."""
    code = "print(*(f'line {n}' for n in range(1, 31)), sep='\\n'); raise SystemExit(3)"
    with pytest.raises(UserError) as raised:
        environment.run_quietly("Waiting", [sys.executable, "-c", code], "Is there a network? ")
    lines = str(raised.value).splitlines()
    assert lines[0] == "Waiting failed (exit code 3). Is there a network? It said:"
    assert lines[1:] == [f"    line {n}" for n in range(23, 31)]


@pytest.mark.parametrize("has_wheel", [True, False])
def test_uv_installs_if_it_has_a_program_for_this_machine(root, monkeypatch, has_wheel):
    """It comes from its wheel, with the version of the lock file. Otherwise pip installs."""
    commands = []

    def run_quietly(title, command, *_):
        words = [Path(command[0]).stem, *map(str, command[1:])]
        commands.append(words)
        if "--target" in words:
            if not has_wheel:
                raise UserError("no matching distribution")
            program = Path(words[words.index("--target") + 1], "bin", "uv")
            program.parent.mkdir(parents=True)
            program = program.with_suffix(".exe" if os.name == "nt" else "")
            program.touch(0o755)
        elif "venv" in words:
            Path(words[-1]).mkdir()

    (root / "requirements.lock").write_text("django==5.2\nuv==0.13.8\nuvicorn==0.54\n")
    monkeypatch.setattr(environment, "run_quietly", run_quietly)
    monkeypatch.setenv("PATH", str(root))
    ensure(root)
    fetched, created, installed = commands
    assert fetched[-1] == "uv==0.13.8"
    assert created[0] == installed[0] == "uv" if has_wheel else "uv" not in created + installed


# The words of Debian's Python if the package with `ensurepip` is missing.
DEBIAN = """\
The virtual environment was not created successfully because ensurepip is not
available.  On Debian/Ubuntu systems, you need to install the python3-venv
package using the following command.

    apt install python3.11-venv

You may need to use sudo with that command.  After installing the python3-venv
package, recreate your virtual environment.

Failing command: /course/.venv/bin/python3
"""


@pytest.mark.skipif(os.name == "nt", reason="this Python is a script of the shell")
def test_a_python_without_venv_names_the_package_to_install(root, monkeypatch):
    """Debian's Python lacks the module that brings pip, and says how to install it."""
    python = root / "python3"
    python.write_text(f"#!/bin/sh\ncat <<end\n{DEBIAN}end\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(environment, "find_uv", lambda root: None)
    monkeypatch.setattr(environment, "base_python", lambda: str(python))
    with pytest.raises(UserError, match=r"apt install python3\.11-venv"):
        ensure(root)


def test_an_installer_that_fails_is_quoted(prepared):
    """A real installation fails with a sentence and uv's output, without a traceback."""
    requirements = prepared / "step02_groups" / "requirements.txt"
    before = requirements.read_text()
    path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    try:
        requirements.write_text("./no-such-package.whl\n")
        failed = run_course("run", "2", "--port=8643", root=prepared, PATH=path)
    finally:
        requirements.write_text(before)
    assert failed.returncode == 2
    assert failed.stderr.startswith("Installing the packages of step 2 failed (exit code ")
    assert "no-such-package.whl" in failed.stderr
    assert "Traceback" not in failed.stderr
