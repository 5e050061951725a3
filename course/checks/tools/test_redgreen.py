"""Red and green: a new test that proves nothing is named, with the reason."""

import contextlib
import io
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from course.checks.tools.conftest import add_step, is_alive, pids
from course.core.processes import wait_until
from course.core.terminal import UserError
from course.learn.results import Test, read_junit
from course.maintain import redgreen
from course.maintain.redgreen import pairs
from course.maintain.verdicts import red_complaint

MANIFEST = """
[[step]]
label = "step01_echo"
concept = "one"

[[step]]
label = "step02_groups"
concept = "two"
[[step.part]]
name = "more"
files = [{files}]
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

def test_tells_of_an_import():
    raise RuntimeError("Traceback: ...\\nModuleNotFoundError: No module named 'more'")

def test_name(): assert value == 2

def test_attribute(): assert app.nothing

def test_unknown_fixture(nowhere): pass

def test_cleaning(leaky): pass

def test_waits(): asyncio.run(asyncio.wait_for(asyncio.sleep(5), 1.6))

def test_fixture_waits(slow): pass
"""
COMPLAINTS = {
    "test_passes": "passes on step01_echo already: this test proves nothing.",
    "test_tells_of_an_import": "fails on step01_echo for the wrong reason: "
    "ModuleNotFoundError: No module named 'more'.",
    "test_name": "fails on step01_echo for the wrong reason: "
    "NameError: name 'value' is not defined.",
    "test_attribute": "fails on step01_echo for the wrong reason: "
    "AttributeError: module 'app' has no attribute 'nothing'.",
    "test_unknown_fixture": "fails on step01_echo for the wrong reason: "
    "fixture 'nowhere' not found.",
    "test_cleaning": "passes on step01_echo, where only its teardown fails: "
    "AssertionError: the socket is open.",
    "test_waits": "until a time-out: TimeoutError.",
    "test_fixture_waits": "waits in a fixture on step01_echo until a time-out: TimeoutError.",
}


def plant_tests(root: Path, **tests: str) -> Path:
    """Make `root` a course of two steps; the second adds these files of tests."""
    names = {f"tests/test_{name}.py": source for name, source in tests.items()}
    shared = {"app.py": "VALUE = 1\n", "pytest.ini": "[pytest]\n", "tests/test_old.py": "import no"}
    add_step(root, "step01_echo", shared)
    add_step(root, "step02_groups", shared | {"app.py": "VALUE = 2\n", "more.py": ""} | names)
    files = ", ".join(f'"{name}"' for name in ["app.py", "more.py", *names])
    (root / "course").mkdir()
    manifest = MANIFEST.format(files=files)
    (root / "course" / "steps.toml").write_text(manifest)
    return root


def result_of(name: str) -> str:
    """Return the id of the result of a planted file of tests."""
    return f"step02_groups-part01/tests/test_{name}.py on step01_echo"


@dataclass(frozen=True)
class Shown:
    """The outcome of the command: its exit code, its lines, its results by file."""

    code: int
    lines: list[str]
    results: dict[str, Test]


def run(
    root: Path, wanted: str | None = None, part: str | None = None, fix: str | None = None
) -> Shown:
    """Run the command on planted steps, with the Python of these tests."""
    output, results = io.StringIO(), root / "results"
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setattr(redgreen.environment, "ensure_everything", lambda _: Path(sys.executable))
        code = redgreen.redgreen(wanted, part, fix, results, root)
    tests = [test for file in sorted(results.glob("*.xml")) for test in read_junit(file)]
    return Shown(code, output.getvalue().splitlines(), {test.id: test for test in tests})


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """The command after a run on good tests, bad tests, and a file that needs a new module."""
    files = {"good": GOOD, "bad": BAD, "waiting": "import more\n\ndef test_one(): pass\n"}
    return run(plant_tests(tmp_path_factory.mktemp("bad"), **files))


def test_new_tests_that_fail_for_what_is_missing_are_accepted(tmp_path: Path) -> None:
    """Assertions, refused connections, missing keys and short waits count, in fixtures too."""
    shown = run(plant_tests(tmp_path, good=GOOD))
    assert shown.code == 0, shown.lines
    (line,) = shown.lines
    assert line.startswith(
        "step02_groups-part01: all 6 new tests fail on step01_echo, as they should ("
    )
    assert list(shown.results) == [result_of("good")]
    assert shown.results[result_of("good")].outcome == "passed"


@pytest.mark.parametrize("name", COMPLAINTS)
def test_a_test_that_proves_nothing_is_named(shown: Shown, name: str) -> None:
    """The sentence names step and test, and gives the reason."""
    (line,) = [line for line in shown.lines if f"::{name} " in line]
    assert line.startswith(f"step02_groups-part01: tests/test_bad.py::{name} ")
    assert line.endswith(COMPLAINTS[name])


def test_there_is_no_complaint_beyond_those(shown: Shown) -> None:
    """No sentence names a good test. The command fails, and so do the bad files."""
    assert shown.code == 1
    assert len(shown.lines) == len(COMPLAINTS)
    assert {name: test.outcome for name, test in shown.results.items()} == {
        result_of("good"): "passed",
        result_of("bad"): "failed",
        result_of("waiting"): "passed",
    }
    message = shown.results[result_of("bad")].message
    assert message.splitlines() == [line for line in shown.lines if "test_bad.py" in line]


def test_tests_that_do_not_run_at_all_are_told(tmp_path: Path) -> None:
    """For example, if conftest.py needs a module that the step before lacks, a sentence says so."""
    root = plant_tests(tmp_path, good=GOOD)
    (root / "step02_groups" / "tests" / "conftest.py").write_text("import more\n")
    manifest = root / "course" / "steps.toml"
    manifest.write_text(manifest.read_text().replace('"app.py"', '"app.py", "tests/conftest.py"'))
    shown = run(root, "2")
    assert shown.code == 1
    assert shown.lines == [
        "step02_groups-part01: its tests do not run on step01_echo (exit code 4): "
        "ModuleNotFoundError: No module named 'more'."
    ]
    assert shown.results[result_of("good")].outcome == "failed"


def test_a_file_without_tests_is_told(tmp_path: Path) -> None:
    """A file without tests proves nothing, so a sentence names the file."""
    shown = run(plant_tests(tmp_path, good=GOOD, empty="# later\n"))
    assert shown.code == 1
    assert shown.lines == [
        "step02_groups-part01: tests/test_empty.py has no test that runs on step01_echo."
    ]


def test_a_step_without_tests_is_told(tmp_path: Path) -> None:
    """A part without tests proves nothing, so a sentence names the part."""
    shown = run(plant_tests(tmp_path))
    assert (shown.code, len(shown.lines)) == (1, 1)
    assert shown.lines[0].startswith("step02_groups-part01: this part has no new test")


def test_a_skip_is_told_with_its_reason(tmp_path: Path) -> None:
    """A skip is no failure here; `make test-all` shows the skip, and CI refuses it."""
    source = "import pytest\n\npytest.skip('no Redis here', allow_module_level=True)\n"
    shown = run(plant_tests(tmp_path, good=GOOD, skipped=source))
    assert shown.code == 0
    skipped = shown.results[result_of("skipped")]
    assert (skipped.outcome, skipped.message) == ("skipped", "no Redis here")
    assert f"{result_of('skipped')}: skipped: no Redis here" in shown.lines


def test_a_test_that_hangs_is_named_and_its_children_end(tmp_path: Path) -> None:
    """The step's pytest.ini limits the time of a test; the results of other tests still count."""
    source = """
import subprocess, sys
def test_a(): assert False
def test_hangs(capfd):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with capfd.disabled():
        print(f"\\npid {child.pid}", flush=True)
    child.wait()
"""
    root = plant_tests(tmp_path, hanging=source)
    (root / "step01_echo" / "pytest.ini").write_text("[pytest]\ntimeout = 0.5\n")
    shown = run(root)
    assert shown.lines == [
        "step02_groups-part01: tests/test_hanging.py::test_hangs fails on step01_echo for the "
        "wrong reason: Failed: Timeout (>0.5s) from pytest-timeout."
    ]
    log = root / ".course" / "red" / "step02_groups-part01-on-step01_echo.log"
    (child,) = pids(log.read_text())
    assert wait_until(lambda: not is_alive(child), 30)


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
        "ModuleNotFoundError: No module named 'chat.limits'",
        "collection failure: ImportError: cannot import name 'LIMIT' from 'chat.store' (/x.py)",
        "TimeoutError",
    ],
)
def test_the_right_reasons(message: str) -> None:
    """The right reasons include these messages, which come from real steps without the concept."""
    failed = Test("tests/test_x.py::test_y", "failed", 1.0, message)
    assert red_complaint(failed, "step01_echo") == ""


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
    """An unknown reason is reported, so that a person looks at the test."""
    failed = Test("tests/test_x.py::test_y", "failed", 0.1, message)
    assert red_complaint(failed, "step01_echo").startswith("fails on step01_echo ")


def test_an_import_at_the_top_counts_for_all_tests_of_the_file(tmp_path: Path) -> None:
    """If the part adds the imported module, no test of the file can pass without the part."""
    root = plant_tests(tmp_path, top="import more\n\ndef test_one(): ...\ndef test_two(): ...\n")
    old = "def test_one(): ...\ndef test_one_of_many(): ...\n"
    add_step(root, "step01_echo", {"tests/test_old.py": old})
    new = f"from app import NEW\nimport more\n{old}def test_one_more(): ...\n"
    add_step(root, "step02_groups", {"tests/test_old.py": new, "app.py": "VALUE = NEW = 2\n"})
    manifest = root / "course" / "steps.toml"
    manifest.write_text(manifest.read_text().replace('"app.py"', '"app.py", "tests/test_old.py"'))
    shown = run(root)
    assert shown.lines[0].startswith("step02_groups-part01: all 3 new tests fail on step01_echo")
    assert (shown.code, len(shown.lines)) == (0, 1)


def test_old_tests_of_a_changed_file_need_not_fail(tmp_path: Path) -> None:
    """Old tests may pass on the step before, even if pytest cannot deselect them."""
    root = plant_tests(tmp_path)
    old = "import app\ndef test_one(): ...\ndef test_two(): ...\n"
    add_step(root, "step01_echo", {"tests/test_old.py": old})
    new = f"{old}def test_one_more(): assert app.VALUE == 2\n"
    add_step(root, "step02_groups", {"tests/test_old.py": new})
    manifest = root / "course" / "steps.toml"
    manifest.write_text(manifest.read_text().replace('"app.py"', '"app.py", "tests/test_old.py"'))
    shown = run(root)
    assert shown.lines[0].startswith("step02_groups-part01: its new test fails on step01_echo")
    log = (root / ".course" / "red" / "step02_groups-part01-on-step01_echo.log").read_text()
    # The name of the new test begins with test_one, so only test_two can be left out.
    assert "1 failed, 1 passed, 1 deselected" in log


SITE = {
    "manage.py": """
import os, sys
def main():
    os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
""",
    "settings.py": """
SECRET_KEY, DEBUG, ROOT_URLCONF, INSTALLED_APPS = "x", True, "urls", ["chat"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
""",
    "urls.py": """
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse("here"))]
""",
    "chat/__init__.py": "",
    "chat/old.py": "",
    "pytest.ini": "[pytest]\n",
}
MODELS = """
from django.db import models
class Message(models.Model):
    text = models.TextField()
"""
MIGRATION = """
from django.db import migrations, models
ID = models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")
class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "Message", [("id", ID), ("text", models.TextField())]
        )
    ]
"""
NUMBERS = """
from chat.store import number
def test_number(): assert number() == 1
"""
LIMITED = """
import pathlib
from chat import limits
from chat.store import limited
def test_limit(): assert limited() < limits.MOST
def test_nothing_is_old(): assert not pathlib.Path("chat/old.py").exists()
"""
TWO_PARTS = """
[[step]]
label = "step01_echo"
concept = "one"
[[step]]
label = "step02_groups"
concept = "two"
[[step.part]]
name = "numbers"
files = ["chat/models.py", "chat/migrations/__init__.py", "chat/migrations/0001_initial.py",
         "chat/store.py", "tests/test_numbers.py"]
[[step.part]]
name = "limits"
files = ["chat/limits.py", "chat/store.py", "chat/old.py", "tests/test_numbers.py",
         "tests/test_limits.py"]
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A course of two Django sites, the second in two parts: its root."""
    add_step(tmp_path, "step01_echo", SITE)
    second = {path: text for path, text in SITE.items() if path != "chat/old.py"}
    second |= {"chat/models.py": MODELS, "chat/migrations/__init__.py": ""}
    second |= {"chat/migrations/0001_initial.py": MIGRATION, "chat/limits.py": "MOST = 3\n"}
    second["chat/store.py"] = "def number(): return 1\ndef limited(): return 2\n"
    second["tests/test_numbers.py"] = f"{NUMBERS}def test_more():\n    import chat.limits\n"
    second["tests/test_limits.py"] = LIMITED
    add_step(tmp_path, "step02_groups", second)
    interim = "interim/step02_groups/part01"
    course = {f"{interim}/chat/store.py": "def number(): return 1\n", "steps.toml": TWO_PARTS}
    add_step(tmp_path, "course", course | {f"{interim}/tests/test_numbers.py": NUMBERS})
    return tmp_path


def without_seconds(lines: list[str]) -> list[str]:
    """Return the lines without the seconds, sorted, because parts run in parallel."""
    return sorted(line.partition(" (")[0] for line in lines)


def test_each_mid_point_runs_passes_its_tests_and_fails_those_of_the_next(site: Path) -> None:
    """The last mid-point is the step, so its own tests run elsewhere. Each file has a result."""
    shown = run(site)
    assert without_seconds(shown.lines) == [
        "step02_groups-part01 runs, and its new test passes on it",
        "step02_groups-part01: its new test fails on step01_echo, as it should",
        "step02_groups-part02: all 3 new tests fail on step02_groups-part01, as they should",
    ]
    assert shown.code == 0
    assert sorted(shown.results) == [
        "step02_groups-part01/tests/test_numbers.py on step01_echo",
        "step02_groups-part01/tests/test_numbers.py on step02_groups-part01",
        "step02_groups-part02/tests/test_limits.py on step02_groups-part01",
        "step02_groups-part02/tests/test_numbers.py on step02_groups-part01",
    ]
    shown = run(site, "2", "2")
    assert len(shown.lines) == 1


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (
            "step02_groups/chat/migrations/0001_initial.py",
            MIGRATION.replace('("text", models.TextField())', ""),
            "`manage.py makemigrations --check` ended with exit code 1 and said last: ",
        ),
        (
            "step02_groups/chat/models.py",
            MODELS.replace("TextField()", "IntegerField(choices=1)"),
            "`manage.py check` ended with exit code 1 and said last: ",
        ),
        (
            "step02_groups/chat/migrations/0001_initial.py",
            MIGRATION.replace("operations = [", "operations = [migrations.RunSQL('no'),"),
            "`manage.py migrate` ended with exit code 1 and said last: ",
        ),
        (
            "course/interim/step02_groups/part01/urls.py",
            SITE["urls.py"].replace('path("",', 'path("chat/",'),
            "/ failed: HTTP Error 404: Not Found.",
        ),
    ],
    ids=["no migration", "a check", "a migration", "no page"],
)
def test_a_mid_point_that_does_not_run_is_named(
    site: Path, file: str, text: str, said: str
) -> None:
    """The sentence names the command that failed, and its last line."""
    if file.endswith("urls.py"):
        manifest = site / "course" / "steps.toml"
        named = manifest.read_text().replace('"chat/models.py"', '"chat/models.py", "urls.py"')
        manifest.write_text(named.replace('"chat/limits.py"', '"chat/limits.py", "urls.py"'))
    (site / file).write_text(text)
    shown = run(site, "2", "1")
    assert shown.code == 1
    (line,) = [line for line in shown.lines if "does not run" in line]
    assert line.startswith("step02_groups-part01 does not run: ")
    assert said in line
    result = shown.results["step02_groups-part01/tests/test_numbers.py on step02_groups-part01"]
    assert result.message == line


def test_tests_that_fail_on_their_own_mid_point_are_named(site: Path) -> None:
    """A learner would see these tests fail on the mid-point, so a sentence names them."""
    store = site / "course" / "interim" / "step02_groups" / "part01" / "chat" / "store.py"
    store.write_text("def number(): return 2\n")
    shown = run(site, "2", "1")
    assert shown.code == 1
    assert (
        "step02_groups-part01: tests/test_numbers.py::test_number fails on "
        "step02_groups-part01, its own: assert 2 == 1." in shown.lines
    )


def test_a_part_whose_tests_pass_before_it_is_named(site: Path) -> None:
    """A test must fail on the mid-point before, not only on the step before."""
    (site / "step02_groups" / "tests" / "test_limits.py").write_text(NUMBERS)
    shown = run(site, "2", "2")
    assert shown.code == 1
    assert shown.lines[0] == (
        "step02_groups-part02: tests/test_limits.py::test_number passes on step02_groups-part01 "
        "already: this test proves nothing."
    )


def test_a_part_without_new_tests_is_told(site: Path) -> None:
    """A part without new tests proves nothing, so a sentence names the part."""
    manifest = site / "course" / "steps.toml"
    before, last, after = manifest.read_text().rpartition(', "tests/test_numbers.py",')
    manifest.write_text(f"{before}]\n".replace('"tests/test_numbers.py"]', '"pytest.ini"]'))
    for file in (site / "course" / "interim").rglob("test_numbers.py"):
        file.unlink()
    shown = run(site)
    assert shown.code == 1
    assert without_seconds(shown.lines) == [
        f"step02_groups-part0{n}: this part has no new test, so nothing proves its mechanism."
        for n in (1, 2)
    ]


def test_a_part_needs_its_step(site: Path) -> None:
    """A sentence asks for STEP."""
    with pytest.raises(UserError, match="PART needs a step"):
        run(site, None, "1")


def test_new_tests_of_a_changed_file_count(tmp_path: Path) -> None:
    """A part may add a test to a file of the step before."""
    root = plant_tests(tmp_path, good=GOOD)
    for step, source in (
        ("step01_echo", "def test_one(): pass\n"),
        ("step02_groups", "def test_one(): pass\n\nasync def test_two(): pass\n"),
    ):
        (root / step / "tests" / "test_old.py").write_text(source)
    manifest = root / "course" / "steps.toml"
    manifest.write_text(manifest.read_text().replace('"app.py"', '"app.py", "tests/test_old.py"'))
    (pair,) = pairs(root)
    assert pair.old == {"tests/test_good.py": set(), "tests/test_old.py": {"test_one"}}


def test_the_first_step_has_nothing_to_fail_on(tmp_path: Path) -> None:
    """A sentence says that the first step has no step before."""
    with pytest.raises(UserError, match="step01_echo is the first step"):
        run(plant_tests(tmp_path, good=GOOD), "1")


@pytest.mark.skipif(not shutil.which("git"), reason="There is no git here. Run: apt install git")
def test_the_test_of_a_fix_fails_without_the_fix(tmp_path: Path) -> None:
    """FIX=HEAD runs the changed tests on the code of the last commit, and no other test."""
    test = "from app import VALUE\n\ndef test_value(): assert VALUE == 2\n"
    root = plant_tests(tmp_path, value=test)
    (root / ".gitignore").write_text(".course\nresults\n")
    names = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], [*names, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    with pytest.raises(UserError, match=r"No test of a step has changed since HEAD\."):
        run(root, fix="HEAD")
    with pytest.raises(UserError, match="FIX=nowhere is no commit"):
        run(root, fix="nowhere")
    changed = root / "step02_groups"
    (changed / "app.py").write_text("VALUE = 3\n")
    proof = test.replace("== 2", "== 3")
    (changed / "tests" / "test_value.py").write_text(proof)
    shown = run(root, fix="HEAD")
    assert shown.code == 0, shown.lines
    assert shown.lines[0].startswith("step02_groups: its new test fails on step02_groups-at-HEAD")
    (changed / "tests" / "test_value.py").write_text(proof.replace("== 3", ">= 2"))
    shown = run(root, fix="HEAD")
    assert shown.code == 1
    assert "this test proves nothing" in shown.lines[0]
