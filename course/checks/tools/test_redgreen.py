"""Red and green: a new test that proves nothing is named, with the reason."""

import contextlib
import io
import re
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

SERVER = """
import http.server, sys
def main():
    if sys.argv[1] == "runserver":
        host, port = sys.argv[-1].split(":")
        handler = http.server.SimpleHTTPRequestHandler
        http.server.HTTPServer((host, int(port)), handler).serve_forever()
"""
GOOD = """
import asyncio
import socket
import pytest
import app
is_here = app.VALUE == 2
def test_an_assertion():
    assert is_here
def test_a_refused_connection():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if is_here:
            server.listen()
        socket.create_connection(server.getsockname()).close()
def test_a_short_wait():
    asyncio.run(asyncio.wait_for(asyncio.sleep(0 if is_here else 5), 0.01))
def test_nothing_is_raised():
    with pytest.raises(ValueError, match="here"):
        if is_here:
            raise ValueError("here")
def test_a_missing_key():
    assert ({"id": 1} if is_here else {})["id"] == 1
@pytest.fixture
def page():
    assert is_here, "no page"
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
def test_imports(): import mroe
def test_tells_of_an_import():
    raise RuntimeError("Traceback\\nModuleNotFoundError: No module named 'more'")
def test_name(): assert value == 2
def test_attribute(): assert app.nothing
def test_unknown_fixture(nowhere): pass
def test_cleaning(leaky): pass
def test_waits(): asyncio.run(asyncio.wait_for(asyncio.sleep(5), 1.6))
def test_fixture_waits(slow): pass
"""
HANGING = """
import pathlib, subprocess, sys
def test_a(): assert pathlib.Path("here.10").exists()
def test_hangs(capfd):
    if pathlib.Path("here.10").exists():
        return
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with capfd.disabled():
        print(f"\\npid {child.pid}", flush=True)
    child.wait()
"""
SKIPPED = "import pytest\npytest.skip('no Redis', allow_module_level=True)\n"
FAILS = "import pathlib\ndef test_fails(): assert pathlib.Path('here.{}').exists()\n"
TWO = "def test_one(): ...\ndef test_two(): ...\n"
MORE = f"import app\n{TWO}def test_one_more(): assert app.VALUE == 9\n"
# Each step has one part, which writes these files.
STEPS = [
    {"app.py": "VALUE = 1\n", "pytest.ini": "[pytest]\n", "manage.py": SERVER},
    {"app.py": "VALUE = 2\n", "tests/test_good.py": GOOD},
    {"more.py": "", "tests/test_bad.py": BAD, "tests/test_needs.py": f"import more\n{TWO}"},
    {"most.py": "", "tests/conftest.py": "import most\n", "here.4": ""}
    | {"tests/test_four.py": FAILS.format(4), "tests/test_4.py": FAILS.format(4)},
    {"here.5": "", "tests/test_five.py": FAILS.format(5), "tests/test_empty.py": "# later\n"},
    {"six.py": ""},
    {"here.7": "", "tests/test_seven.py": FAILS.format(7), "tests/test_skipped.py": SKIPPED},
    {"top.py": "", "tests/test_top.py": f"import top\n{TWO}"}
    | {"tests/test_needs.py": f"import top\n{TWO}def test_top(): ...\n"},
    {"app.py": "VALUE = 9\n", "tests/test_needs.py": MORE},
    {"here.10": "", "pytest.ini": "[pytest]\ntimeout = 3\n", "tests/test_hanging.py": HANGING},
]
WRONG = "fails on step02_x for the wrong reason:"
OWN_WRONG = "fails on step03_x-part01, its own:"
LINES = f"""\
step02_x-part01: each new test fails on step01_x, as it should (6 in N s)
step02_x-part01 runs, and each new test passes on it (6 in N s)
step03_x-part01: tests/test_bad.py::test_passes passes on step02_x already: \
this test proves nothing.
step03_x-part01: tests/test_bad.py::test_imports {OWN_WRONG} \
ModuleNotFoundError: No module named 'mroe'.
step03_x-part01: tests/test_bad.py::test_tells_of_an_import {WRONG} \
RuntimeError: Traceback.
step03_x-part01: tests/test_bad.py::test_name {WRONG} NameError: name 'value' is not defined.
step03_x-part01: tests/test_bad.py::test_attribute {WRONG} \
AttributeError: module 'app' has no attribute 'nothing'.
step03_x-part01: tests/test_bad.py::test_unknown_fixture {WRONG} fixture 'nowhere' not found.
step03_x-part01: tests/test_bad.py::test_cleaning passes on step02_x, where only its \
teardown fails: AssertionError: the socket is open.
step03_x-part01: tests/test_bad.py::test_waits waits for N s on step02_x until a time-out: \
TimeoutError.
step03_x-part01: tests/test_bad.py::test_fixture_waits {WRONG} TimeoutError.
step04_x-part01: its tests do not run on step03_x (exit code 4): \
ModuleNotFoundError: No module named 'most'.
step04_x-part01 runs, and each new test passes on it (2 in N s)
step05_x-part01: tests/test_empty.py has no test that runs on step04_x.
step05_x-part01: tests/test_empty.py has no test that runs on step05_x-part01.
step06_x-part01: this part has no new test, so nothing proves its mechanism.
step07_x-part01: each new test fails on step06_x, as it should (1 in N s)
step07_x-part01: tests/test_skipped.py is skipped on step06_x: no Redis.
step07_x-part01 runs, and each new test passes on it (1 in N s)
step07_x-part01: tests/test_skipped.py is skipped on step07_x-part01: no Redis.
step08_x-part01: each new test fails on step07_x, as it should (2 in N s)
step08_x-part01 runs, and each new test passes on it (3 in N s)
step09_x-part01: each new test fails on step08_x, as it should (1 in N s)
step09_x-part01 runs, and each new test passes on it (1 in N s)
step10_x-part01: tests/test_hanging.py::test_hangs fails on step09_x for the wrong reason: \
Failed: Timeout (>3.0s) from pytest-timeout.
step10_x-part01 runs, and each new test passes on it (2 in N s)
"""


def plant_steps(root: Path, steps: list[list[dict[str, str | None]]]) -> Path:
    """Make `root` a course, with the files that each part of each step writes or deletes."""
    files, manifest = dict[str, str | None](), ""
    for number, parts in enumerate(steps, 1):
        label = f"step{number:02}_x"
        manifest += f'[[step]]\nlabel = "{label}"\nconcept = "x"\n'
        for count, part in enumerate(parts, 1):
            files |= part
            later = {path for other in parts[count:] for path in other}
            interim = {path: text for path, text in part.items() if path in later}
            add_step(root, f"course/interim/{label}/part{count:02}", interim)
            if number > 1:
                manifest += f'[[step.part]]\nname = "x"\nfiles = {list(part)}\n'
        add_step(root, label, {path: text for path, text in files.items() if text is not None})
    add_step(root, "course", {"steps.toml": manifest})
    return root


@dataclass(frozen=True)
class Shown:
    """The outcome of the command: its exit code, its lines, its results by file."""

    root: Path
    code: int
    lines: list[str]
    results: dict[str, Test]


def run(root: Path, wanted: str | None = None, fix: str | None = None, whole: bool = True) -> Shown:
    """Run the command on planted steps, with the Python of these tests."""
    output, results = io.StringIO(), root / "results"
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setattr(redgreen.environment, "ensure_everything", lambda _: Path(sys.executable))
        code = redgreen.redgreen(wanted, None, fix, results, root, whole)
    tests = [test for file in sorted(results.glob("*.xml")) for test in read_junit(file)]
    lines = re.sub(r"\b\d+\.\d s\b", "N s", output.getvalue()).splitlines()
    return Shown(root, code, lines, {test.id: test for test in tests})


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """The command after a run on all steps."""
    return run(plant_steps(tmp_path_factory.mktemp("steps"), [[step] for step in STEPS]))


def test_each_test_that_proves_nothing_is_named(shown: Shown) -> None:
    """The sentence names step and test, and gives the reason. No sentence names a good test.

    An import may fail without the part, but a misspelt one fails with the part too. Old tests of a
    changed file may pass. Files without tests and tests that do not run prove nothing either.
    """
    own = f"step03_x-part01: tests/test_bad.py::test_imports {OWN_WRONG}"
    lines = [each for each in shown.lines if OWN_WRONG not in each or each.startswith(own)]
    assert sorted(lines) == sorted(LINES.splitlines())
    assert len(shown.lines) - len(lines) == 7  # a wrong test fails with its part too
    assert shown.code == 1


def test_each_new_test_has_a_result(shown: Shown) -> None:
    """A failed result has the sentence about the test, and a skipped one the reason."""
    results = {name.partition("tests/test_")[2]: test for name, test in shown.results.items()}
    outcomes = {name: results[name].outcome for name in results if "on step06_x" in name}
    assert outcomes == {
        "seven.py::test_fails on step06_x": "passed",
        "skipped.py on step06_x": "skipped",
    }
    bad = results["bad.py::test_passes on step02_x"]
    assert (bad.outcome, bad.message) == (
        "failed",
        "passes on step02_x already: this test proves nothing",
    )


def test_the_children_of_a_test_that_hangs_end(shown: Shown) -> None:
    """The step's pytest.ini limits the time of a test."""
    log = shown.root / ".course" / "red" / "step10_x-part01-on-step09_x" / "trial.log"
    (child,) = pids(log.read_text())
    assert wait_until(lambda: not is_alive(child), 30)


@pytest.mark.parametrize(("step", "code", "count"), [("6", 1, 1), ("7", 0, 4)])
def test_one_step_is_run_alone(shown: Shown, step: str, code: int, count: int) -> None:
    """The exit code is 1 for a part without tests. A skip is no failure, but CI refuses it."""
    alone = run(shown.root, step)
    assert (alone.code, len(alone.lines)) == (code, count)


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
OWN = "from chat.own import ONE\ndef test_own(): assert ONE == 1\n"
INITIAL = "chat/migrations/0001_initial.py"
SAID = "said last: "
BROKEN = [
    (INITIAL, '("text", models.TextField())', "", f"`manage.py makemigrations --check` {SAID}"),
    ("chat/models.py", "TextField()", "IntegerField(choices=1)", f"`manage.py check` {SAID}"),
    (INITIAL, "s = [", "s = [migrations.RunSQL('no'),", f"`manage.py migrate` {SAID}"),
    ("urls.py", 'path("",', 'path("chat/",', "/ failed: HTTP Error 404: Not Found."),
]
MODEL = {"chat/models.py": MODELS, "chat/migrations/__init__.py": "", INITIAL: MIGRATION}
RIGHT = SITE | MODEL
# Step 2 is right. Then each step has a broken mid-point; in the last step, its tests find that.
SITES = [
    [SITE],
    [
        {
            **MODEL,
            "chat/store.py": "def number(): return 1\n",
            "tests/test_numbers.py": NUMBERS,
        },
        {
            "chat/limits.py": "MOST = 3\n",
            "chat/store.py": "def number(): return 1\ndef limited(): return 2\n",
            "chat/old.py": None,
            "tests/test_numbers.py": f"{NUMBERS}def test_more():\n    import chat.limits\n",
            "tests/test_limits.py": LIMITED,
        },
    ],
    *(
        [
            {file: RIGHT[file].replace(old, new), f"tests/test_{n}.py": FAILS.format(n)},
            {file: RIGHT[file]},
        ]
        for n, (file, old, new, _) in enumerate(BROKEN, 3)
    ),
    [
        {"chat/own.py": "ONE = 2\n", "tests/test_7.py": OWN},
        {"chat/own.py": "ONE = 1\n", "tests/test_late.py": OWN.replace("== 1", "> 0")},
    ],
]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """The command after a run on Django sites."""
    return run(plant_steps(tmp_path_factory.mktemp("sites"), SITES))


def test_each_mid_point_runs_passes_its_tests_and_fails_those_of_the_next(sites: Shown) -> None:
    """Each new test has two results."""
    assert sorted(line for line in sites.lines if line.startswith("step02")) == [
        "step02_x-part01 runs, and each new test passes on it (1 in N s)",
        "step02_x-part01: each new test fails on step01_x, as it should (1 in N s)",
        "step02_x-part02 runs, and each new test passes on it (3 in N s)",
        "step02_x-part02: each new test fails on step02_x-part01, as it should (2 in N s)",
    ]
    assert len([name for name in sites.results if name.startswith("step02")]) == 2 + 5


def test_the_tests_of_a_whole_step_can_be_left_to_the_step(sites: Shown) -> None:
    """Then no line says that they pass. Each line about a failure without the part stays."""
    shown = run(sites.root, "2", whole=False)
    assert sorted(shown.lines) == [
        line for line in sorted(sites.lines) if line.startswith("step02") and "02 runs" not in line
    ]


@pytest.mark.parametrize("number", [3, 4, 5, 6])
def test_a_mid_point_that_does_not_run_is_named(sites: Shown, number: int) -> None:
    """The sentence names the command that failed, and its last line."""
    label = f"step{number:02}_x-part01"
    (line,) = [
        line for line in sites.lines if line.startswith(f"{label}: the project does not run: ")
    ]
    assert BROKEN[number - 3][-1] in line
    assert sites.results[f"{label}/the project on {label}"].outcome == "failed"


def test_tests_that_fail_on_their_own_mid_point_or_pass_before_are_named(sites: Shown) -> None:
    """A learner would see these tests fail. A test must fail on the mid-point before as well."""
    own = [line for line in sites.lines if line.startswith("step07")]
    assert sorted(own) == [
        "step07_x-part01: each new test fails on step06_x, as it should (1 in N s)",
        "step07_x-part01: tests/test_7.py::test_own fails on step07_x-part01, its own: "
        "assert 2 == 1.",
        "step07_x-part02 runs, and each new test passes on it (1 in N s)",
        "step07_x-part02: tests/test_late.py::test_own passes on step07_x-part01 already: "
        "this test proves nothing.",
    ]


def test_a_step_or_a_part_is_chosen(sites: Shown) -> None:
    """The first step has no step before. A part needs its step."""
    chosen = redgreen.pairs("2", "2", sites.root)
    assert [pair.after.label for pair in chosen] == ["step02_x-part02"]
    assert [pair.after.number for pair in redgreen.pairs("2", None, sites.root)] == [1, 2]
    with pytest.raises(UserError, match="The first step has no step before"):
        run(sites.root, "1")
    with pytest.raises(UserError, match="PART needs a step"):
        redgreen.pairs(None, "1", sites.root)


@pytest.mark.skipif(not shutil.which("git"), reason="There is no git here. Run: apt install git")
def test_the_test_of_a_fix_fails_without_the_fix(tmp_path: Path) -> None:
    """FIX=HEAD runs the changed tests on the code of the last commit, and on the code of today."""
    test = "from app import VALUE\n\ndef test_value(): assert VALUE == 2\n"
    root = plant_steps(tmp_path, [[STEPS[0]], [{"app.py": "VALUE = 2\n", "tests/test_v.py": test}]])
    (root / ".gitignore").write_text(".course\nresults\n")
    names = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], [*names, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    (root / "step02_x" / "tests" / "test_v.py").write_text(f"import os\n{test}")
    with pytest.raises(UserError, match=r"No test of a step has changed since HEAD\."):
        run(root, fix="HEAD")
    with pytest.raises(UserError, match="FIX=nowhere is no commit"):
        run(root, fix="nowhere")
    (root / "step02_x" / "app.py").write_text("VALUE = 3\n")
    outcomes = [
        ("== 3", 0, "step02_x: each new test fails on step02_x-at-HEAD"),
        (">= 2", 1, "step02_x: tests/test_v.py::test_value passes on step02_x-at-HEAD already"),
        ("== 4", 1, "step02_x: tests/test_v.py::test_value fails on step02_x, its own: assert 3"),
    ]
    for now, code, said in outcomes:
        (root / "step02_x" / "tests" / "test_v.py").write_text(test.replace("== 2", now))
        shown = run(root, fix="HEAD")
        assert shown.code == code
        assert any(line.startswith(said) for line in shown.lines)
