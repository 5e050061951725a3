"""Rules for all steps, and for all tests of the course."""

import re

import pytest

from course.core.manifest import INTERIM
from course.core.steps import ROOT, all_steps, list_folder, step_files
from course.learn.jobs import CHECKS, FOLDERS

STEPS = pytest.mark.parametrize("step", all_steps(), ids=lambda step: step.label)


def source_lines(step):
    """Yield the place and the text of each line of a step's Python, without its tests."""
    for file in step_files(step.folder):
        if file.suffix == ".py" and file.name != "client.py" and file.parts[0] != "tests":
            for number, line in enumerate((step.folder / file).read_text("utf-8").splitlines(), 1):
                yield f"{file}:{number}", line


@STEPS
def test_nothing_is_printed_and_no_step_imports_the_course(step):
    """A step logs; only `client.py` prints. A copy of a step runs where `course` is missing."""
    wrong = re.compile(r".*\bprint\(|\s*(from|import) course\b")
    assert [place for place, line in source_lines(step) if wrong.match(line)] == []


@STEPS
def test_each_exemption_from_csrf_has_its_reason(step):
    """`csrf_exempt` has a comment on its line or the line above."""
    before, bare = "", []
    for place, line in source_lines(step):
        used = "csrf_exempt" in line and "import" not in line
        if used and "#" not in line and not before.strip().startswith("#"):
            bare.append(place)
        before = line
    assert bare == []


@STEPS
def test_each_test_of_a_step_is_a_function(step):
    """`make drift`, `guarantees` and `redgreen` know no tests in classes."""
    texts = [file.read_text("utf-8") for file in (step.folder / "tests").glob("test_*.py")]
    assert not re.findall(r"^class (?:Test.*|.*TestCase\W.*)$", "\n".join(texts), re.MULTILINE)


def test_no_file_of_a_step_is_a_symbolic_link():
    """A copy of the step would break the link."""
    folders = [*(step.folder for step in all_steps()), ROOT / INTERIM]
    files = [folder / path for folder in folders for path in list_folder(folder)]
    assert [file for file in files if file.is_symlink()] == []


def test_a_line_of_a_step_fits_a_projector():
    """A projector shows 88 columns, and `make diff` needs one; interim files are checked too."""
    long = []
    for folder in [*(step.folder for step in all_steps()), ROOT / INTERIM]:
        for file in step_files(folder) if folder.is_dir() else []:
            shown = not {"tests", "migrations"}.intersection(file.parts)
            if shown and file.suffix in (".py", ".js", ".html"):
                lines = (folder / file).read_text("utf-8").splitlines()
                place = (folder / file).relative_to(ROOT).as_posix()
                long += [f"{place}:{n}" for n, line in enumerate(lines, 1) if len(line) > 87]
    assert long == []


def test_every_test_of_the_course_is_run():
    """Each file of tests is in a folder of jobs, which name no file that there is not.

    Each folder has one job for the files that no other job names.
    """
    files = [file.relative_to(ROOT).as_posix() for file in ROOT.glob("course/**/test_*.py")]
    places = tuple(f"{CHECKS}/{folder}/test_" for folder in FOLDERS)
    assert [file for file in files if not file.startswith((f"{INTERIM}/", *places))] == []
    for folder, jobs in FOLDERS.items():
        named = [f"{CHECKS}/{folder}/test_{name}.py" for names in jobs.values() for name in names]
        assert sorted(set(named).intersection(files)) == sorted(named)
        assert sum(names == [] for names in jobs.values()) == 1
