"""The manifest: its mistakes are refused, and its parts make mid-points."""

import pytest

from course.checks.tools.conftest import INTERIM, MANIFEST, plant_parts
from course.core import manifest
from course.core.steps import all_steps, find_step, step_files
from course.core.terminal import UserError


@pytest.fixture
def root(tmp_path):
    """A small course with a correct manifest."""
    return plant_parts(tmp_path)


TWO = MANIFEST.partition('[[step]]\nlabel = "step03')[0]
ALL = "step01_echo, step02_groups, step03_crowd"
KEYS = "A [[step]] has a label, a concept and perhaps retires, and a [[step.part]] has a name and"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[step]", "course/steps.toml cannot be understood: "),
        ("steps = 1\n", f"course/steps.toml describes no steps: describe {ALL}, each once"),
        ('[step]\nlabel = "x"\n', KEYS),
        (TWO.replace('label = "step02_groups"', ""), KEYS),
        (TWO.replace('concept = "groups"', 'concept = "groups"\nadds = []'), KEYS),
        (TWO.replace('name = "rooms"', ""), KEYS),
        (TWO.replace('name = "rooms"', 'name = "rooms"\nmore = 1'), KEYS),
        (TWO.replace("[[step.part]]", "[step.part]"), KEYS),
        (TWO, f"describes step01_echo, step02_groups: describe {ALL}, each once, in this order."),
        (MANIFEST + '[[step]]\nlabel = "step04_x"\nconcept = "x"\n', "step04_x: describe"),
        (MANIFEST.replace("01_echo", "09").replace("02_groups", "01_echo"), f"describe {ALL}"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(root, text, said):
    """One sentence names the mistake."""
    (root / "course" / "steps.toml").write_text(text, "utf-8")
    with pytest.raises(UserError) as refused:
        manifest.load(root)
    assert said in str(refused.value)


def texts(midpoint):
    """Return the texts of the files of a mid-point."""
    return {path: midpoint.text(path).decode() for path in sorted(midpoint.files)}


def test_each_mid_point_is_the_one_before_with_its_part(root):
    """Interim files last until the next part that names them; the README is the step's."""
    found = manifest.chain(find_step("3", root), root)[1:]
    shown = [(point.number, point.name, point.label) for point in found]
    assert shown == [
        (1, "numbers", "step03_crowd-part01"),
        (2, "limits", "step03_crowd-part02"),
        (3, "a crowd", "step03_crowd-part03"),
    ]
    one, two, three = map(texts, found)
    folder = root / "step03_crowd"
    assert three == {
        path.as_posix(): (folder / path).read_text("utf-8") for path in step_files(folder)
    }
    new = {"chat/crowd.py", "tests/test_crowd.py"}
    changed = {"chat/views.py": INTERIM["part02/chat/views.py"]}
    counter = {"chat/counter.py": INTERIM["part01/chat/counter.py"]}
    assert two == {path: three[path] for path in three if path not in new} | changed | counter
    new |= {"chat/limits.py", "tests/test_limits.py"}
    early = ("chat/views.py", "tests/test_numbers.py")
    changed = {path: INTERIM[f"part01/{path}"] for path in early}
    assert one == {path: two[path] for path in two if path not in new} | changed


def test_the_first_step_has_no_mid_points_and_the_others_end_as_they_are(root):
    """In the real steps too, the last mid-point equals the folder."""
    assert len(manifest.chain(find_step("1", root), root)) == 1
    assert len(manifest.chain(all_steps()[0])) == 1
    for step in all_steps()[1:]:
        last = manifest.chain(step)[-1]
        assert manifest.difference(last, manifest.read_step(step)) == {}


def test_a_missing_file_is_refused(root):
    """The sentence names the interim file or the manifest."""
    (root / "course/interim/step03_crowd/part02/chat/views.py").unlink()
    with pytest.raises(UserError, match=r"part02/chat/views\.py is missing"):
        manifest.chain(find_step("3", root), root)
    (root / "course" / "steps.toml").unlink()
    with pytest.raises(UserError, match=r"course/steps\.toml cannot be read"):
        manifest.load(root)
