"""The environment: made once, reused, repaired."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from course.checks.tools.conftest import add_step, clean, run_course, sentence
from course.core import environment
from course.core.processes import CommandFailed
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

    def run_quietly(command, progress, **_):
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


def test_the_second_time_installs_nothing(root, done):
    """An up-to-date environment is used without any change."""
    ensure(root)
    assert done == ["create", "install requirements.txt"]
    ensure(root)
    assert len(done) == 2


@pytest.mark.parametrize("changed", ["requirements.lock", "step01_echo/requirements.txt"])
def test_a_changed_file_installs_again(root, done, changed):
    """The packages go into the same environment, so the installation takes seconds."""
    ensure(root)
    (root / changed).write_text("django==5.2.1\n")
    ensure(root)
    assert done == ["create", "install requirements.txt", "install requirements.txt"]


def test_everything_includes_each_step(root, done):
    """After an installation of the whole course, no step needs an installation."""
    environment.ensure_everything(root)
    assert done == ["create", "install requirements.lock requirements.txt"]
    ensure(root)
    assert len(done) == 2


def break_python(root: Path) -> None:
    """Delete the environment's Python, as an upgrade of the system does."""
    environment.venv_program(root / ".venv", "python").unlink()


def age_python(root: Path) -> None:
    """Make the environment look like one of another Python."""
    stamp = root / ".venv" / environment.STAMP
    stamp.write_text(stamp.read_text().replace(environment.python_version(), "3.8"))


def forget_packages(root: Path) -> None:
    """Delete the packages from the stamp."""
    stamp = root / ".venv" / environment.STAMP
    stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {"installed": None}))


def interrupt_install(root: Path) -> None:
    """Delete the stamp, as during an installation."""
    (root / ".venv" / environment.STAMP).unlink()


@pytest.mark.parametrize("damage", [break_python, age_python, forget_packages, interrupt_install])
def test_a_broken_environment_is_made_anew(root, done, damage):
    """The next command repairs the environment, whatever is broken."""
    ensure(root)
    damage(root)
    ensure(root)
    assert done == ["create", "install requirements.txt"] * 2


@pytest.mark.parametrize("text", ['{"python": "3.11"}', "[]", "null", "half a"])
def test_a_damaged_stamp_is_none(root, done, text):
    """If the stamp has any other content, the environment is made anew."""
    ensure(root)
    (root / ".venv" / environment.STAMP).write_text(text)
    ensure(root)
    assert done == ["create", "install requirements.txt"] * 2


def test_an_environment_that_was_moved_is_made_anew(root, done):
    """A moved environment is unusable, because its programs begin with the old path of Python."""
    ensure(root)
    moved = root.rename(root.with_name("moved"))
    ensure(moved)
    assert done == ["create", "install requirements.txt"] * 2
    # A path through a symbolic link is the same folder.
    moved.with_name("linked").symlink_to(moved)
    ensure(moved.with_name("linked"))
    assert len(done) == 4


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
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=clean(), **pipes) as first:
        assert first.stdout.readline() == "here\n"
        with subprocess.Popen(command, cwd=ROOT, env=clean(), **pipes) as second:
            waiting = "Another command is sleeping: waiting for it.\n"
            assert second.stdout.readline() == waiting
            first.stdin.close()
            assert second.communicate(timeout=20) == ("here\n", None)


def test_an_interrupted_installation_leaves_no_stamp(root, done, monkeypatch):
    """After Ctrl-C during an installation, the next call installs again."""
    ensure(root)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(environment, "install", interrupted)
        (root / "requirements.lock").write_text("django==5.2.1\n")
        with pytest.raises(KeyboardInterrupt):
            ensure(root)
    ensure(root)
    assert done == ["create", "install requirements.txt"] * 2


def test_a_failed_installation_ends_in_the_last_words_of_the_installer(root, done, monkeypatch):
    """The message has one sentence and pip's last lines. The environment is kept."""
    ensure(root)

    def failing(command, progress, **_):
        raise CommandFailed(["pip"], 1, "\n".join(f"line {n}" for n in range(1, 31)))

    with monkeypatch.context() as patch:
        patch.setattr(environment, "run_quietly", failing)
        (root / "requirements.lock").write_text("django==5.2.1\n")
        with pytest.raises(UserError, match="network") as raised:
            ensure(root)
    assert str(raised.value).splitlines()[-1] == "    line 30"
    assert "line 22" not in str(raised.value)
    ensure(root)
    assert done == ["create", "install requirements.txt", "install requirements.txt"]


@pytest.mark.parametrize("has_wheel", [True, False])
def test_uv_installs_if_it_has_a_program_for_this_machine(root, monkeypatch, has_wheel):
    """It comes from its wheel, with the version of the lock file. Otherwise pip installs."""
    commands = []

    def run_quietly(command, progress):
        words = [Path(command[0]).stem, *map(str, command[1:])]
        commands.append(words)
        if "--target" in words:
            if not has_wheel:
                raise CommandFailed(["pip"], 1, "no matching distribution")
            program = Path(words[words.index("--target") + 1], "bin", "uv")
            program.parent.mkdir(parents=True)
            program.with_suffix(".exe" if os.name == "nt" else "").touch()
        elif "venv" in words:
            Path(words[-1]).mkdir()

    (root / "requirements.lock").write_text("django==5.2\nuv==0.13.8\nuvicorn==0.54\n")
    monkeypatch.setattr(environment, "run_quietly", run_quietly)
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    ensure(root)
    fetched, created, installed = commands
    assert fetched[-1] == "uv==0.13.8"
    assert created[0] == installed[0] == "uv" if has_wheel else "uv" not in created + installed


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_without_venv_names_the_package_to_install(fresh, tmp_path_factory, module):
    """Debian's Python lacks the modules that make environments; a sentence names the package."""
    shadow = tmp_path_factory.mktemp("shadow")
    (shadow / f"{module}.py").write_text("raise ImportError('no module here')\n")
    line = sentence(run_course("run", "1", "--port=8642", root=fresh, PYTHONPATH=str(shadow)))
    assert f"install python{environment.python_version()}-venv" in line


def test_pip_that_fails_is_quoted(ready):
    """A real installation fails with a sentence and pip's output, without a traceback."""
    requirements = ready / "step02_groups" / "requirements.txt"
    before = requirements.read_text()
    try:
        requirements.write_text("./no-such-package.whl\n")
        failed = run_course("run", "2", "--port=8643", root=ready)
    finally:
        requirements.write_text(before)
    assert failed.returncode == 2
    assert failed.stderr.startswith("Installing the packages failed (exit code 1).")
    assert "no-such-package.whl" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.skipif(os.name == "nt", reason="POSIX names")
def test_environments_are_not_made_from_an_environment():
    """`.venv` may be replaced, so its own Python cannot make the new environment."""
    assert ".venv" not in Path(environment.base_python()).parts
