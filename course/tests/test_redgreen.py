"""Red and green: a new test that proves nothing on the step before is named, with its reason."""

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from course import redgreen
from course.processes import wait_until
from course.redgreen import complaint, finish, pairs, start
from course.results import Test, read_junit
from course.terminal import UserError
from course.tests.conftest import add_step, is_alive, pids

MANIFEST = """
[[step]]
label = "step01_echo"
concept = "one"

[[step]]
label = "step02_groups"
concept = "two"
adds = [{adds}]
changes = [{changes}]
"""
GOOD = """
import asyncio
import socket

import pytest
import app

def test_an_assertion():
    assert app.VALUE == 2

def test_a_refused_connection():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        socket.create_connection(unused.getsockname()).close()

def test_a_short_wait():
    asyncio.run(asyncio.wait_for(asyncio.sleep(5), 0.01))

def test_nothing_is_raised():
    with pytest.raises(ValueError, match="not yet"):
        pass

def test_a_missing_key():
    assert {}.get("id") + 1 == 2

@pytest.fixture
def page():
    assert app.VALUE == 2, "no page"

def test_a_fixture(page):
    pass
"""
BAD = """
import asyncio
import time

import pytest
import app

@pytest.fixture
def leaky():
    yield
    raise AssertionError("the socket is open")

@pytest.fixture
def slow():
    raise TimeoutError

def test_passes(): assert app.VALUE

def test_imports(): import more

def test_tells_of_an_import():
    assert False, "Traceback: ...\\nModuleNotFoundError: No module named 'more'"

def test_name(): assert value == 2

def test_attribute(): assert app.nothing

def test_unknown_fixture(nowhere): pass

def test_cleaning(leaky): pass

def test_waits(): asyncio.run(asyncio.wait_for(asyncio.sleep(5), 1.6))

def test_fixture_waits(slow): pass
"""
COMPLAINTS = {
    "test_passes": "passes on step01_echo already: it proves nothing.",
    "test_imports": "fails on step01_echo because something cannot be imported: "
    "ModuleNotFoundError: No module named 'more'.",
    "test_tells_of_an_import": "fails on step01_echo because something cannot be imported: "
    "ModuleNotFoundError: No module named 'more'.",
    "test_name": "fails on step01_echo for the wrong reason: "
    "NameError: name 'value' is not defined.",
    "test_attribute": "fails on step01_echo for the wrong reason: "
    "AttributeError: module 'app' has no attribute 'nothing'.",
    "test_unknown_fixture": "fails on step01_echo for the wrong reason: "
    "fixture 'nowhere' not found.",
    "test_cleaning": "passes on step01_echo, where only its cleaning up fails: "
    "AssertionError: the socket is open.",
    "test_waits": "for what cannot come: TimeoutError.",
    "test_fixture_waits": "waits in a fixture on step01_echo for what cannot come: TimeoutError.",
}


def plant_tests(root: Path, **tests: str) -> Path:
    """Make `root` a course of two steps, of which the second adds these files of tests."""
    names = {f"tests/test_{name}.py": source for name, source in tests.items()}
    shared = {"app.py": "VALUE = 1\n", "pytest.ini": "[pytest]\n", "tests/test_old.py": "import no"}
    add_step(root, "step01_echo", shared)
    add_step(root, "step02_groups", shared | {"app.py": "VALUE = 2\n", "more.py": ""} | names)
    adds = ", ".join(f'"{name}"' for name in ["more.py", *names])
    (root / "course").mkdir()
    manifest = MANIFEST.format(adds=adds, changes='"app.py"')
    (root / "course" / "steps.toml").write_text(manifest)
    return root


@dataclass(frozen=True)
class Shown:
    """What the command came to: its exit code, its lines, its results by file."""

    code: int
    lines: list[str]
    results: dict[str, Test]


def run(root: Path, wanted: str | None = None) -> Shown:
    """Run the command on planted steps, with the Python of these tests."""
    output, results = io.StringIO(), root / "results"
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setattr(redgreen.environment, "ensure_everything", lambda _: Path(sys.executable))
        code = redgreen.redgreen(wanted, results, root)
    tests = [test for file in sorted(results.glob("*.xml")) for test in read_junit(file)]
    return Shown(code, output.getvalue().splitlines(), {test.id: test for test in tests})


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """The command after a run on good tests and bad ones, and one file that cannot be read."""
    files = {"good": GOOD, "bad": BAD, "collected": "import more\n\ndef test_one(): pass\n"}
    return run(plant_tests(tmp_path_factory.mktemp("bad"), **files))


def test_new_tests_that_fail_for_what_is_missing_are_accepted(tmp_path: Path) -> None:
    """An assertion, a refused connection, a missing key, a short wait: also in a fixture."""
    shown = run(plant_tests(tmp_path, good=GOOD))
    assert shown.code == 0, shown.lines
    (line,) = shown.lines
    assert line.startswith("step02_groups: all 6 new tests fail on step01_echo, as they should (")
    assert list(shown.results) == ["step02_groups/tests/test_good.py"]
    assert shown.results["step02_groups/tests/test_good.py"].outcome == "passed"


@pytest.mark.parametrize("name", COMPLAINTS)
def test_a_test_that_proves_nothing_is_named(shown: Shown, name: str) -> None:
    """The sentence names step and test, and says what is wrong with it."""
    (line,) = [line for line in shown.lines if f"::{name} " in line]
    assert line.startswith(f"step02_groups: tests/test_bad.py::{name} ")
    assert line.endswith(COMPLAINTS[name])


def test_a_file_that_cannot_be_read_is_named(shown: Shown) -> None:
    """An import at its top ends that file, and the others run all the same."""
    (line,) = [line for line in shown.lines if "test_collected.py" in line]
    assert line == (
        "step02_groups: tests/test_collected.py fails on step01_echo because something cannot be "
        "imported: ModuleNotFoundError: No module named 'more'."
    )


def test_there_is_no_complaint_beyond_those(shown: Shown) -> None:
    """Good tests are in none of the sentences; the command fails, and so do the bad files."""
    assert shown.code == 1
    assert len(shown.lines) == len(COMPLAINTS) + 1
    outcomes = {name.rpartition("/")[2]: test.outcome for name, test in shown.results.items()}
    assert outcomes == {
        "test_good.py": "passed",
        "test_bad.py": "failed",
        "test_collected.py": "failed",
    }
    message = shown.results["step02_groups/tests/test_bad.py"].message
    assert message.splitlines() == [line for line in shown.lines if "test_bad.py" in line]


def test_tests_that_do_not_run_at_all_are_told(tmp_path: Path) -> None:
    """Such as with a conftest.py that needs what the step before does not have."""
    root = plant_tests(tmp_path, good=GOOD)
    (root / "step02_groups" / "tests" / "conftest.py").write_text("import more\n")
    shown = run(root, "2")
    assert shown.code == 1
    assert shown.lines == [
        "step02_groups: its tests do not run on step01_echo (exit code 4): "
        "ModuleNotFoundError: No module named 'more'."
    ]
    assert shown.results["step02_groups/tests/test_good.py"].outcome == "failed"


def test_a_file_without_tests_is_told(tmp_path: Path) -> None:
    """Nothing ran, so nothing was proven."""
    shown = run(plant_tests(tmp_path, good=GOOD, empty="# later\n"))
    assert shown.code == 1
    assert shown.lines == [
        "step02_groups: tests/test_empty.py holds no test that runs on step01_echo."
    ]


def test_a_step_without_tests_is_told(tmp_path: Path) -> None:
    """A concept that no test is about is not proven."""
    shown = run(plant_tests(tmp_path))
    assert (shown.code, len(shown.lines)) == (1, 1)
    assert shown.lines[0].startswith("step02_groups: it brings no test")


def test_a_skip_is_told_with_its_reason(tmp_path: Path) -> None:
    """It counts as a skip, which `make test-all` shows and CI refuses."""
    source = "import pytest\n\npytest.skip('no Redis here', allow_module_level=True)\n"
    shown = run(plant_tests(tmp_path, good=GOOD, skipped=source))
    assert shown.code == 0
    skipped = shown.results["step02_groups/tests/test_skipped.py"]
    assert (skipped.outcome, skipped.message) == ("skipped", "no Redis here")
    assert "step02_groups/tests/test_skipped.py: skipped: no Redis here" in shown.lines


def test_a_test_that_hangs_is_stopped_and_named(tmp_path: Path) -> None:
    """With what it started; the tests that ran before it count as they went."""
    source = """
import os, subprocess, sys
def test_a(): pass
def test_hangs(capfd):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with capfd.disabled():
        print(f"\\npid {child.pid}", flush=True)
    child.wait()
"""
    root = plant_tests(tmp_path, hanging=source)
    (pair,) = pairs(root)
    red = start(pair, Path(sys.executable), tmp_path / "red")
    assert wait_until(lambda: len(pids(red.log.read_text())) == 1, 30)
    (child,) = pids(red.log.read_text())
    found = []
    assert wait_until(lambda: found.append(finish(red, 0.3)) or found[-1] is not None, 20)
    assert found[-1].sentences == [
        "step02_groups: tests/test_hanging.py::test_a passes on step01_echo already: "
        "it proves nothing.",
        "step02_groups: tests/test_hanging.py::test_hangs hangs on step01_echo and was stopped.",
    ]
    assert found[-1].results[0].outcome == "failed"
    assert wait_until(lambda: not is_alive(child), 5)


@pytest.mark.parametrize(
    "message",
    [
        "assert 404 == 200\n +  where 404 = <Response [404]>.status_code",
        "AssertionError: no page at /accounts/signup/",
        'failed on setup with "AssertionError: no page at /accounts/signup/"',
        "websockets.exceptions.InvalidStatus: server rejected WebSocket connection: HTTP 500",
        "websockets.exceptions.ConnectionClosedError: received 1011 (internal error)",
        "ConnectionRefusedError: [Errno 111] Connect call failed ('127.0.0.1', 1)",
        "requests.exceptions.ConnectionError: HTTPConnectionPool: … Connection refused",
        "ValueError: No route found for path 'ws/chat/lobby/'.",
        "sqlite3.OperationalError: no such table: main.chat_message",
        "django.db.utils.OperationalError: no such table: chat_message",
        "requests.exceptions.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
        "TypeError: 'NoneType' object is not subscriptable",
        "AttributeError: 'NoneType' object has no attribute 'group'",
        "KeyError: 'id'",
    ],
)
def test_the_right_reasons(message: str) -> None:
    """What a step without the concept really answers."""
    assert complaint(Test("tests/test_x.py::test_y", "failed", 1.0, message), "step01_echo") == ""


@pytest.mark.parametrize(
    "message",
    [
        "RuntimeError: ModuleNotFoundError: No module named 'chat.rooms'",
        "django.core.exceptions.ImproperlyConfigured: no settings",
        "django.db.utils.OperationalError: database is locked",
        "ValueError: not enough values to unpack",
        "SyntaxError: invalid syntax",
        "",
    ],
)
def test_other_reasons_are_not_right(message: str) -> None:
    """Whatever is not known to be right is told, so that somebody looks at it."""
    failed = Test("tests/test_x.py::test_y", "failed", 0.1, message)
    assert complaint(failed, "step01_echo").startswith("fails on step01_echo ")


def test_new_tests_of_a_changed_file_count(tmp_path: Path) -> None:
    """A test may also come to a file that the step before has."""
    root = plant_tests(tmp_path, good=GOOD)
    for step, source in (
        ("step01_echo", "def test_one(): pass\n"),
        ("step02_groups", "def test_one(): pass\n\nasync def test_two(): pass\n"),
    ):
        (root / step / "tests" / "test_old.py").write_text(source)
    manifest = root / "course" / "steps.toml"
    manifest.write_text(manifest.read_text().replace('"app.py"', '"app.py", "tests/test_old.py"'))
    (pair,) = pairs(root)
    assert pair.new == ["tests/test_good.py", "tests/test_old.py::test_two"]


def test_the_first_step_has_nothing_to_fail_on(tmp_path: Path) -> None:
    """Who asks for it is told so."""
    with pytest.raises(UserError, match="step01_echo is the first step"):
        run(plant_tests(tmp_path, good=GOOD), "1")
