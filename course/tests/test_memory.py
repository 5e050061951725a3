"""The memory of `make test-all`: remembered jobs, and changes that make a job run again."""

import os
import sys
from pathlib import Path

import pytest

from course import memory, testing
from course.results import REMEMBERED, Part, Test
from course.testing import Job, run_and_remember
from course.tests.conftest import add_step

PASSES = "<testsuite><testcase name='one' time='1.5'/></testsuite>"
GREEN = Part("step01_echo", 2.0, [Test("one", "passed", 1.5)])


@pytest.fixture
def root(tmp_path):
    """A course of one step, outside git, with files that belong to no step."""
    add_step(tmp_path, "step01_echo", {"chat/views.py": "", ".venv/big.py": "", "db.sqlite3": ""})
    (tmp_path / ".course").mkdir()
    (tmp_path / ".course" / "times.json").write_text("{}")
    return tmp_path


@pytest.fixture
def python(tmp_path):
    """The Python of an environment with one package."""
    packages = tmp_path / ".venv" / "lib" / "python3.11" / "site-packages"
    (packages / "django-5.2.dist-info").mkdir(parents=True)
    return tmp_path / ".venv" / "bin" / "python"


def job_of(root: Path, code: str, name: str = "step01_echo") -> Job:
    """Return a job of the step that runs Python code and leaves one passed test."""
    results = root / ".course" / "results" / name
    code = (
        f"{code}\nfrom pathlib import Path\nPath({str(results / 'a.xml')!r}).write_text({PASSES!r})"
    )
    command = [sys.executable, "-c", code]
    return Job(name, command, root, results, root / ".course" / f"{name}.log", ["step01_echo"])


def test_files_are_those_that_make_up_the_course(root):
    """Environments, databases and files of the tools do not count."""
    assert sorted(memory.read_files(root)) == ["step01_echo/chat/views.py", "step01_echo/manage.py"]


def become_a_program(file: Path) -> None:
    """Set the executable bit."""
    file.chmod(0o755)


def become_a_link(file: Path) -> None:
    """Replace the file by a link to a file with the same content."""
    file.unlink()
    file.symlink_to("../manage.py")


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no executable bit")
@pytest.mark.parametrize("change", [become_a_program, become_a_link])
def test_a_file_is_more_than_its_content(root, change):
    """The executable bit and links count: git keeps both, and tests depend on both."""
    before = memory.read_files(root)
    change(root / "step01_echo" / "chat" / "views.py")
    after = memory.read_files(root)
    assert [name for name in before if before[name] != after[name]] == ["step01_echo/chat/views.py"]


def test_a_fingerprint_changes_with_what_is_needed_and_nothing_else(root):
    """Content, name and presence of a needed file count, and so does the machine."""
    files = {"step01_echo/a.py": "1", "step02_groups/a.py": "1"}
    now = memory.fingerprint(["step01_echo"], files, ["3.11"])
    same = files | {"step02_groups/a.py": "2", "step010_other/a.py": "1"}
    assert memory.fingerprint(["step01_echo"], same, ["3.11"]) == now
    for other in ({"step01_echo/a.py": "2"}, {"step01_echo/b.py": "1"}, {"course/run.py": "1"}):
        assert memory.fingerprint(["step01_echo"], files | other, ["3.11"]) != now
    assert memory.fingerprint(["step01_echo"], files, ["3.12"]) != now


def test_another_package_or_program_is_another_machine(python, monkeypatch, tmp_path):
    """A new program counts: a new browser may change the results of the browser's tests."""
    before = memory.read_machine(python)
    assert sys.version in before
    (python.parent.parent / "lib" / "python3.11" / "site-packages" / "b-1.dist-info").mkdir()
    more = memory.read_machine(python)
    assert [entry for entry in more if entry not in before] == ["b-1.dist-info"]
    chromium = tmp_path / "chromium"
    chromium.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert any(str(chromium) in entry for entry in memory.read_machine(python))


def test_only_what_was_green_is_remembered(tmp_path):
    """A job is remembered with its fingerprint, and its tests with no time."""
    (tmp_path / "a.xml").write_text(PASSES)
    memory.remember(GREEN, tmp_path, "now")
    assert memory.recall("step01_echo", tmp_path, "later") is None
    found = memory.recall("step01_echo", tmp_path, "now")
    assert found == Part("step01_echo", 0.0, [Test(f"one{REMEMBERED}", "passed", 0.0)])
    memory.forget(tmp_path)
    assert memory.recall("step01_echo", tmp_path, "now") is None
    for outcome in ("failed", "skipped"):
        memory.remember(Part("step01_echo", 2.0, [Test("one", outcome, 1.5)]), tmp_path, "now")
        assert memory.recall("step01_echo", tmp_path, "now") is None
    (tmp_path / memory.NOTE).write_text("half a no")
    assert memory.recall("step01_echo", tmp_path, "now") is None


FAILS = PASSES.replace("/><", "><failure/></testcase><")


@pytest.mark.parametrize(
    "text", [None, PASSES[:-5], "<testsuite/>", FAILS], ids=["gone", "half", "empty", "failed"]
)
def test_results_that_are_not_those_of_then_are_not_remembered(tmp_path, text):
    """Missing, broken, empty or newer results make the job run again."""
    results = tmp_path / "a.xml"
    results.write_text(PASSES)
    memory.remember(GREEN, tmp_path, "now")
    assert memory.recall("step01_echo", tmp_path, "now")
    results.unlink()
    if text:
        results.write_text(text)
    assert memory.recall("step01_echo", tmp_path, "now") is None


def test_a_job_is_run_once(root, python, monkeypatch):
    """The job runs again only after a change."""
    monkeypatch.delenv("CI", raising=False)
    job = job_of(root, "")
    assert run_and_remember([job], python, root)["step01_echo"].seconds > 0
    assert run_and_remember([job], python, root)["step01_echo"].seconds == 0
    (root / "step01_echo" / "chat" / "views.py").write_text("# changed")
    assert run_and_remember([job], python, root)["step01_echo"].seconds > 0


def test_what_changes_during_the_tests_is_not_taken_for_tested(root, python, monkeypatch):
    """If an editor saves a file during the tests, the results are not remembered."""
    monkeypatch.delenv("CI", raising=False)
    views = root / "step01_echo" / "chat" / "views.py"
    job = job_of(root, f"open({str(views)!r}, 'a').write('# more')")
    for _ in range(2):
        assert run_and_remember([job], python, root)["step01_echo"].seconds > 0


def test_what_was_green_before_ctrl_c_is_not_run_again(root, python, monkeypatch):
    """The time of a green job is kept too. An interrupted job runs again."""
    monkeypatch.delenv("CI", raising=False)
    jobs = [job_of(root, "", "one"), job_of(root, "", "other")]
    finish, ended = testing.finish, []

    def interrupt(running, time_limit):
        """Press Ctrl-C when the first of the two jobs has ended."""
        if ended:
            raise KeyboardInterrupt
        part = finish(running, time_limit)
        if part:
            ended.append(part.name)
        return part

    with monkeypatch.context() as patch:
        patch.setattr(testing, "finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_and_remember(jobs, python, root)
    assert list(testing.read_times(root / ".course" / "times.json")) == ended
    done = run_and_remember(jobs, python, root)
    assert [name for name, part in done.items() if part.seconds == 0] == ended
