"""Mid-points are found by number, laid out and run, and the learner's changes are kept."""

import sys
from pathlib import Path

import pytest

from course.checks.tools.conftest import INTERIM, plant_parts
from course.core.parts import RECORD, find_midpoint, lay_out, open_midpoint
from course.core.ports import free_port
from course.core.steps import find_step, step_files
from course.core.terminal import UserError
from course.learn import run, testing


@pytest.fixture
def root(tmp_path):
    """A small course whose third step has three parts."""
    return plant_parts(tmp_path)


@pytest.fixture
def step(root):
    """The third step of that course."""
    return find_step("3", root)


def laid_out(folder):
    """Return the text of each file in a folder, without the record."""
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for path in folder.rglob("*")
        if path.is_file() and path.name != RECORD
    }


@pytest.mark.parametrize("wanted", ["0", "4", "limits", "²"])
def test_a_part_that_is_none_is_a_mistake(root, step, wanted):
    """The sentence names the parts."""
    with pytest.raises(UserError) as refused:
        find_midpoint(step, wanted, root)
    assert str(refused.value) == (
        f"step03_crowd has no part {wanted}; its parts are 1 (numbers), 2 (limits), 3 (a crowd)."
    )
    with pytest.raises(UserError, match="step01_echo has no parts: leave out PART"):
        find_midpoint(find_step("1", root), wanted, root)


def test_a_mid_point_is_laid_out_with_nothing_but_its_files(root, step, tmp_path):
    """The executable bit is kept, and the last mid-point is the step."""
    (root / "step02_groups" / "manage.py").chmod(0o755)
    for number in ("01", "3"):
        midpoint = find_midpoint(step, number, root)
        assert lay_out(midpoint, tmp_path / number) == []
        expected = {path: midpoint.text(path).decode() for path in midpoint.files}
        assert laid_out(tmp_path / number) == expected
    assert (tmp_path / "01" / "manage.py").stat().st_mode & 0o100
    assert sorted(expected) == [path.as_posix() for path in step_files(step.folder)]


def test_what_the_learner_changed_stays_and_is_named(root, step, capsys):
    """Each time, changed files and the database stay, and all other files are refreshed."""
    midpoint = find_midpoint(step, "1", root)
    opened = open_midpoint(midpoint, root)
    place = "midpoints/step03_crowd-part01"
    assert opened.folder == root / place
    told = f"Step 3 after part 1 (numbers) is in {place}.\n"
    assert capsys.readouterr().out == told
    (opened.folder / "db.sqlite3").write_text("rows")
    (opened.folder / "chat" / "views.py").write_text("mine\n")
    (opened.folder / "chat" / "apps.py").unlink()
    interim = root / "course" / "interim" / "step03_crowd" / "part01"
    for _ in range(2):
        (interim / "chat" / "views.py").write_text("newer\n")
        (interim / "chat" / "counter.py").write_text("count = 1\n")
        open_midpoint(midpoint, root)
        assert capsys.readouterr().out == (
            f"{told}Your changes are kept: chat/views.py. To start afresh, delete {place}.\n"
        )
        found = laid_out(opened.folder)
        assert found["chat/views.py"] == "mine\n"
        assert found["chat/counter.py"] == "count = 1\n"
        assert found["chat/apps.py"] == "one\ntwo\n"
        assert found["db.sqlite3"] == "rows"
    (opened.folder / "chat" / "views.py").write_text(INTERIM["part01/chat/views.py"])
    open_midpoint(midpoint, root)  # the learner has undone the change
    assert capsys.readouterr().out == told
    assert laid_out(opened.folder)["chat/views.py"] == "newer\n"


def test_a_file_that_has_gone_from_the_course_goes(root, step, tmp_path):
    """A file that the learner changed or added stays."""
    folder = tmp_path / "out"
    lay_out(find_midpoint(step, "2", root), folder)
    (folder / "chat" / "mine.py").write_text("mine\n")
    assert lay_out(find_midpoint(step, "3", root), folder) == []
    assert not (folder / "chat" / "counter.py").exists()
    assert (folder / "chat" / "mine.py").exists()
    lay_out(find_midpoint(step, "2", root), folder)
    (folder / "chat" / "counter.py").write_text("mine\n")
    assert lay_out(find_midpoint(step, "3", root), folder) == ["chat/counter.py"]
    assert lay_out(find_midpoint(step, "3", root), folder) == ["chat/counter.py"]


def test_a_mid_point_is_run_and_tested(root, monkeypatch, capfd):
    """The database is made, the server runs, and the tests run in the mid-point's folder."""
    used = []
    for name in ("ensure", "ensure_everything"):
        monkeypatch.setattr(run.environment, name, lambda *_: Path(sys.executable))
    monkeypatch.setattr(run.environment, "run_quietly", lambda *_, cwd, env: used.append(cwd))
    monkeypatch.setattr(run, "serve", lambda python, step, port, env: used.append(step.folder))
    run.run("3", str(free_port()), "2", root=root)
    folder = root / "midpoints" / "step03_crowd-part02"
    assert used == [folder, folder]
    assert laid_out(folder)["chat/views.py"] == INTERIM["part02/chat/views.py"]
    assert testing.run_step_tests("3", "1", root) == 0
    shown = capfd.readouterr().out
    assert "midpoints/step03_crowd-part01" in shown
    assert "test_numbers.py ." in shown
    assert "test_limits.py" not in shown
