"""Fixtures for the tests of the tools: a small course of fake steps, and ways to run commands."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from course.core import environment
from course.core.processes import LEAKS
from course.core.steps import ROOT

HERE = Path(__file__).parent


def clean() -> dict[str, str]:
    """Return the environment for a command, without this machine's peculiarities."""
    hidden = {"CI", "MAKEFLAGS", "MAKELEVEL", "NO_COLOR", "PIP_CONSTRAINT", *LEAKS}
    # Hide uv, which makes environments in another way than the code under test.
    folders = [f for f in os.environ["PATH"].split(os.pathsep) if not shutil.which("uv", path=f)]
    env = {k: v for k, v in os.environ.items() if k not in hidden and not k.startswith("PYTEST_")}
    return env | {"PATH": os.pathsep.join(folders)}


def run_course(*arguments: str, root: Path = ROOT, **variables: str) -> subprocess.CompletedProcess:
    """Run `python -m course` in `root` with more environment variables; return the process."""
    return subprocess.run(
        [sys.executable, "-m", "course", *arguments],
        cwd=root,
        env=clean() | variables,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


def run_make(*arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess:
    """Run `make` with this Python; return the process."""
    command = ["make", *arguments, f"PYTHON={python}"]
    return subprocess.run(command, cwd=ROOT, env=clean(), capture_output=True, encoding="utf-8")


def sentence(result: subprocess.CompletedProcess) -> str:
    """Check that a command failed with one line; return the line."""
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    (line,) = result.stderr.splitlines()
    return line


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a process that has ended does not, even if nobody waited."""
    try:
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True).stdout
    except FileNotFoundError:
        stat = Path(f"/proc/{pid}/stat")
        state = stat.read_bytes().rpartition(b")")[2].strip() if stat.exists() else b""
    return bool(state.strip()) and not state.strip().startswith(b"Z")


def pids(text: str) -> list[int]:
    """Return the process ids that the fake server printed."""
    return [int(pid) for pid in re.findall(r"^pid (\d+)", text, re.MULTILINE)]


def add_step(root: Path, label: str, files: dict[str, str] | None = None) -> Path:
    """Write a step with these files to `root`; return its folder."""
    folder = root / label
    for name, text in {"manage.py": "", **(files or {})}.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    return folder


PAGE = """
import pytest

def helper(): ...

@pytest.mark.django_db
async def test_page(): ...

def test_title(): ...
def test_body(): ...
"""
MANIFEST = """
[[step]]
label = "step01_echo"
concept = "a socket"

[[step]]
label = "step02_groups"
concept = "groups"
[step.retires]
"tests/test_echo.py" = "nothing echoes any more"
"tests/test_page.py::test_title" = "the title is the room's"
[[step.part]]
name = "rooms"
files = [
  "chat/views.py", "chat/rooms.py", "chat/echo.html", "tests/test_page.py", "tests/test_echo.py",
]

[[step]]
label = "step03_crowd"
concept = "a crowd"
[[step.part]]
name = "numbers"
files = ["chat/models.py", "chat/migrations/0001_initial.py", "chat/views.py", "chat/counter.py",
         "tests/test_numbers.py"]
[[step.part]]
name = "limits"
files = ["chat/limits.py", "chat/views.py", "tests/test_numbers.py", "tests/test_limits.py"]
[[step.part]]
name = "a crowd"
files = ["chat/crowd.py", "chat/counter.py", "chat/views.py", "tests/test_crowd.py"]
"""
# The interim files of step 3.
INTERIM = {
    "part01/chat/views.py": "def room(): number\n",
    "part01/chat/counter.py": "count = 0\n",
    "part01/tests/test_numbers.py": "def test_first(): ...\n",
    "part02/chat/views.py": "def room(): number, limit\n",
}


def plant_parts(root: Path) -> Path:
    """Make `root` a course of three steps, the third with three parts; return `root`."""
    same = {"chat/apps.py": "one\ntwo\n", "chat/icon.svg": "<svg/>\n", "tests/test_same.py": PAGE}
    first = {"README.md": "One\n", "chat/views.py": "def index(): ...\n", "chat/echo.html": "<p>\n"}
    first |= {"tests/test_page.py": PAGE, "tests/test_echo.py": "def test_echo(): ...\n"}
    add_step(root, "step01_echo", same | first)
    second = {"README.md": "Two\n", "chat/views.py": "def room(): ...\n", "chat/rooms.py": ""}
    second["tests/test_page.py"] = PAGE.replace("def test_title(): ...\n", "")
    add_step(root, "step02_groups", same | second)
    third = second | {"README.md": "Three\n", "chat/views.py": "def room(): number, limit, crowd\n"}
    third |= {f"chat/{name}.py": f"{name}\n" for name in ("models", "limits", "crowd")}
    third |= {"chat/migrations/0001_initial.py": "m\n"}
    third["tests/test_numbers.py"] = "def test_first(): ...\ndef test_next(): ...\n"
    third |= {f"tests/test_{name}.py": f"def test_{name}(): ...\n" for name in ("limits", "crowd")}
    add_step(root, "step03_crowd", same | third)
    interim = {f"interim/step03_crowd/{path}": text for path, text in INTERIM.items()}
    add_step(root, "course", interim | {"steps.toml": MANIFEST})
    (root / "course" / "manage.py").unlink()
    return root


def plant(root: Path) -> Path:
    """Make `root` a course of two fake steps with the real tools, no manifest; return `root`."""
    left_out = shutil.ignore_patterns("checks", "__pycache__", "*.toml", "interim")
    shutil.copytree(ROOT / "course", root / "course", ignore=left_out)
    shutil.copy(ROOT / "Makefile", root)
    (root / "requirements.lock").write_text("# nothing to install\n")
    for label in ("step01_echo", "step02_groups"):
        step = add_step(root, label, {"requirements.txt": "# nothing to install\n"})
        shutil.copy(HERE / "fake_manage.py", step / "manage.py")
        shutil.copy(HERE / "fake_pytest.py", step / "pytest.py")
    return root


def plant_environment(venv: Path, lock: Path, files: list[Path]) -> None:
    """Make an environment without pip, which is quick; its stamp says that `files` are there."""
    subprocess.run([environment.base_python(), "-m", "venv", "--without-pip", venv], check=True)
    environment.write_stamp(venv, environment.marks(venv, lock, files))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course of fake steps with its environment."""
    root = plant(tmp_path_factory.mktemp("prepared"))
    files = [root / "requirements.lock", *root.glob("step*/requirements.txt")]
    plant_environment(root / ".venv", files[0], files)
    return root


@dataclass(frozen=True)
class Tested:
    """A course of fake steps after its first `test-all`: its folder and the command's output."""

    root: Path
    shown: subprocess.CompletedProcess


@pytest.fixture(scope="session")
def tested(prepared: Path) -> Tested:
    """A course of fake steps after one run of `test-all`.

    Step 2 has its own environment from the start, because pip takes seconds.
    """
    venv = prepared / ".course" / "standalone" / "step02_groups" / ".venv"
    requirements = prepared / "step02_groups" / "requirements.txt"
    plant_environment(venv, prepared / "requirements.lock", [requirements])
    return Tested(prepared, run_course("test-all", root=prepared))


@pytest.fixture
def terminal() -> Iterator[Callable[..., Any]]:
    """Start commands in their own terminals, which are closed at the end."""
    terminals = pytest.importorskip("course.checks.tools.terminals", exc_type=ImportError)
    opened = []

    def start(command: list[str], cwd: Path, **variables: str) -> Any:
        env = clean() | {"TERM": "xterm"} | variables
        opened.append(terminals.Terminal(command, cwd, env))
        return opened[-1]

    yield start
    for each in opened:
        each.close()
