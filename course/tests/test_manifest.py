"""`make drift`: each way in which the steps and the manifest can disagree is seen and named."""

import re
import shutil
import subprocess
import time

import pytest

from course import manifest
from course.steps import ROOT, all_steps, copy_files, step_files
from course.terminal import UserError
from course.tests.conftest import add_step, run_course

FIFTH = "step05_deploy"
MANIFEST = """
[[step]]
label = "step01_echo"
concept = "a socket"

[[step]]
label = "step02_groups"
concept = "groups"
adds = ["chat/rooms.py"]
changes = ["chat/views.py", "tests/test_page.py"]
removes = ["chat/echo.html", "tests/test_echo.py"]
[step.retires]
"tests/test_echo.py" = "nothing echoes any more"
"tests/test_page.py::TestPage::test_title" = "the title is the room's"
"""

PAGE = """
import pytest

def helper(): ...

@pytest.mark.django_db
async def test_page(): ...

class TestPage:
    def test_title(self): ...
    def test_body(self): ...
"""


@pytest.fixture
def root(tmp_path):
    """A small course whose manifest tells the truth."""
    same = {"chat/apps.py": "one\ntwo\n", "chat/icon.svg": "<svg/>\n", "tests/test_same.py": PAGE}
    add_step(
        tmp_path,
        "step01_echo",
        same
        | {
            "chat/views.py": "def index(): ...\n",
            "chat/echo.html": "<p>\n",
            "tests/test_page.py": PAGE,
            "tests/test_echo.py": "def test_echo(): ...\n",
        },
    )
    add_step(
        tmp_path,
        "step02_groups",
        same
        | {
            "chat/views.py": "def room(): ...\n",
            "chat/rooms.py": "",
            "tests/test_page.py": PAGE.replace("    def test_title(self): ...\n", ""),
        },
    )
    (tmp_path / "course").mkdir()
    (tmp_path / "course" / "steps.toml").write_text(MANIFEST, "utf-8")
    return tmp_path


@pytest.fixture
def real(tmp_path):
    """A copy of the real steps and their manifest."""
    (tmp_path / "course").mkdir()
    shutil.copy(ROOT / "course" / "steps.toml", tmp_path / "course")
    for step in all_steps():
        copy_files(step_files(step.folder), step.folder, tmp_path / step.label)
    return tmp_path


def declare(root, before, after):
    """Replace a text in the manifest, once."""
    file = root / "course" / "steps.toml"
    text = file.read_text("utf-8")
    assert text.count(before) == 1
    file.write_text(text.replace(before, after), "utf-8")


def test_the_steps_differ_only_where_the_manifest_says_so():
    """The course as it is."""
    assert manifest.problems() == []


def test_a_truthful_manifest_raises_no_complaint(root):
    """The small course that the tests below spoil."""
    assert manifest.problems(root) == []


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (
            "chat/apps.py",
            "one\ntwo \n",
            "step02_groups/chat/apps.py differs from step01_echo from line 2 on, and is not "
            "among the changes of step02_groups in course/steps.toml.",
        ),
        (
            "chat/apps.py",
            "one\r\ntwo\r\n",
            "step02_groups/chat/apps.py differs from step01_echo by its line ends (CRLF and LF)",
        ),
        (
            "chat/icon.svg",
            "<svg/>\0",
            "step02_groups/chat/icon.svg differs from step01_echo, and is not among the changes",
        ),
        (
            "chat/views.py",
            "def index(): ...\n",
            "course/steps.toml says that step02_groups changes chat/views.py, but it is the same "
            "as in step01_echo.",
        ),
        (
            "chat/views.py",
            "\ndef index():\n    ...\n",
            "step02_groups/chat/views.py differs from step01_echo by nothing but whitespace, from "
            "line 1 on: make them the same.",
        ),
        (
            "chat/new.py",
            "",
            "step02_groups/chat/new.py is not in step01_echo and not declared: name it in the adds",
        ),
        ("chat/apps.py", None, "step02_groups/chat/apps.py is missing though step01_echo has it"),
        ("chat/rooms.py", None, "adds chat/rooms.py, but step02_groups has no such file."),
        ("chat/echo.html", "<p>\n", "removes chat/echo.html, but it is still there."),
        ("chat/views.py", None, "changes chat/views.py, but step02_groups has no such file."),
        (
            "tests/test_page.py",
            PAGE.replace("    def test_title(self): ...\n", "").replace("_page", "_site"),
            "test_page is gone from step02_groups/tests/test_page.py: bring it back, or say why "
            'under retires in course/steps.toml, as "tests/test_page.py::test_page".',
        ),
        (
            "tests/test_page.py",
            PAGE + "\n# changed\n",
            "retires tests/test_page.py::TestPage::test_title, but it is still there.",
        ),
        ("tests/test_page.py", "def\n", "step02_groups/tests/test_page.py is no Python: "),
    ],
)
def test_a_change_of_the_later_step_is_seen(root, file, content, said):
    """A file written or deleted against the manifest gives one sentence."""
    if content is None:
        (root / "step02_groups" / file).unlink()
    else:
        (root / "step02_groups" / file).write_bytes(content.encode())
    (sentence,) = manifest.problems(root)
    assert said in sentence


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"chat/views.py", ', "", "chat/views.py differs from step01_echo from line 1 on"),
        ('"chat/rooms.py"', "", "step02_groups/chat/rooms.py is not in step01_echo"),
        ('"chat/echo.html", ', "", "step02_groups/chat/echo.html is missing"),
        ('["chat/rooms.py"]', '["chat/rooms.py", "chat/rooms.py"]', "names chat/rooms.py of"),
        ('["chat/rooms.py"]', '["chat/rooms.py", "manage.py"]', "but step01_echo has it already."),
        ('"chat/echo.html"', '"chat/echo.html", "x"', "removes x, which step01_echo never had."),
        ('"tests/test_echo.py" =', "# ", "step01_echo/tests/test_echo.py is gone from"),
        ("nothing echoes any more", " ", "retires tests/test_echo.py without a reason."),
        ("::TestPage::test_title", "::test_x", "::TestPage::test_title"),
        ('"a socket"', '"a socket"\nadds = ["x"]', "step01_echo is the first step"),
        ('"a socket"', '"a socket"\nparts = {a = ["x"]}', "step01_echo is the first step"),
        (
            "[step.retires]",
            '[step.retires]\n"tests/test_same.py" = "w"',
            "retires tests/test_same.py, but it is still there.",
        ),
        (
            "[step.retires]",
            '[step.retires]\n"chat/echo.html" = "w"',
            "retires chat/echo.html, which is no tests/test_*.py.",
        ),
        (
            "[step.retires]",
            '[step.retires]\n"tests/test_page.py::test_x" = "w"',
            "retires tests/test_page.py::test_x, which step01_echo never had.",
        ),
    ],
)
def test_a_change_of_the_manifest_is_seen(root, before, after, said):
    """A line of the manifest that says too much or too little gives a sentence."""
    declare(root, before, after)
    assert any(said in sentence for sentence in manifest.problems(root))


def test_a_file_named_in_two_lists_is_seen(root):
    """What is changed cannot be new."""
    declare(root, '["chat/rooms.py"]', '["chat/rooms.py", "chat/views.py"]')
    twice, already = manifest.problems(root)
    assert twice == "course/steps.toml names chat/views.py of step02_groups more than once."
    assert already.endswith("adds chat/views.py, but step01_echo has it already.")


def test_the_executable_bit_counts(root):
    """A bit that differs is a change, and as a declared change it is enough."""
    file = root / "step02_groups" / "chat" / "apps.py"
    file.chmod(0o755)
    if not file.stat().st_mode & 0o100:
        pytest.skip("this system has no executable bit")
    (sentence,) = manifest.problems(root)
    assert sentence == (
        "step02_groups/chat/apps.py differs from step01_echo by its executable bit: "
        "only step02_groups has it."
    )
    declare(root, '"chat/views.py", ', '"chat/views.py", "chat/apps.py", ')
    assert manifest.problems(root) == []


@pytest.mark.parametrize("target", ["../../step01_echo/chat/apps.py", "nowhere.py"])
@pytest.mark.parametrize("repository", [True, False])
def test_a_symbolic_link_is_seen(root, target, repository):
    """Also one to the very same text, or to no file at all: a step copied out would lack it."""
    if repository:
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    file = root / "step02_groups" / "chat" / "apps.py"
    file.unlink()
    file.symlink_to(target)
    first, *others = manifest.problems(root)
    assert first == (
        "step02_groups/chat/apps.py is a symbolic link: put the file itself there, so that the "
        "step can be copied out."
    )
    assert len(others) == (target == "nowhere.py")


def test_one_byte_in_any_real_file_is_seen(real):
    """A blank at the end of each file of step 2 that is the same in step 1: each is named."""
    second = manifest.load(real)[1]
    before, after = (real / step.label for step in all_steps(real)[:2])
    spoiled = [
        file.as_posix()
        for file in step_files(after)
        if (before / file).exists() and file.as_posix() not in second.changes
    ]
    assert len(spoiled) > 10
    for file in spoiled:
        with (after / file).open("ab") as opened:
            opened.write(b" ")
    found = [text for text in manifest.problems(real) if "differs from step01_echo" in text]
    assert [text.split()[0] for text in found] == [f"step02_groups/{file}" for file in spoiled]


def test_each_real_entry_is_needed(real):
    """With all lists left out, each file they name is complained about."""
    entries = manifest.load(real)
    lines = [
        f"[[step]]\nlabel = {entry.label!r}\nconcept = {entry.concept!r}\n" for entry in entries
    ]
    (real / "course" / "steps.toml").write_text("".join(lines), "utf-8")
    found = "\n".join(manifest.problems(real))
    for entry in entries:
        for path in entry.adds + entry.changes + entry.removes:
            assert f"{entry.label}/{path} " in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[step]", "course/steps.toml cannot be understood: "),
        ("steps = 1\n", "course/steps.toml has unknown keys: steps."),
        ("step = 1\n", "each step is a [[step]] table"),
        ('[step]\nlabel = "x"\n', "each step is a [[step]] table"),
        ("step = [1]\n", "each step is a [[step]] table"),
        ('[[step]]\nconcept = "x"\n', "entry 1 has no label"),
        ('[[step]]\nlabel = "step01_echo"\n', "step01_echo has no concept"),
        (MANIFEST.replace("adds", "add"), "step02_groups has unknown keys: add."),
        (MANIFEST.replace('["chat/rooms.py"]', "1"), "adds of step02_groups must be a list"),
        (MANIFEST.replace('= "nothing echoes any more"', "= 1"), "must give each test its reason"),
        (MANIFEST + "[step.parts]\nrooms = 1\n", "must give each part the list of its files."),
        (MANIFEST + "[step.parts]\nrooms = [1]\n", "must give each part the list of its files."),
        (MANIFEST + 'parts = ["x"]\n', "retires of step02_groups must"),
        (MANIFEST.replace("adds", "parts"), "must give each part the list of its files."),
        (MANIFEST[: MANIFEST.rindex("[[step]]")], "no entry for the folder step02_groups."),
        (
            MANIFEST + '[[step]]\nlabel = "step03_x"\nconcept = "x"\n',
            "has an entry step03_x, but there is no such step folder.",
        ),
        (
            MANIFEST + '[[step]]\nlabel = "step01_echo"\nconcept = "x"\n',
            "has more than one entry step01_echo.",
        ),
        (
            '[[step]]\nlabel = "step02_groups"\nconcept = "x"\n'
            '[[step]]\nlabel = "step01_echo"\nconcept = "x"\n',
            "must name the steps in their order: step01_echo, step02_groups.",
        ),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(root, text, said):
    """One sentence says what is wrong with it."""
    (root / "course" / "steps.toml").write_text(text, "utf-8")
    with pytest.raises(UserError) as refused:
        manifest.problems(root)
    assert said in str(refused.value)


def rewrite_parts(root, before, after):
    """Replace a text in the parts of step 5 in the manifest, once."""
    file = root / "course" / "steps.toml"
    start, heading, rest = file.read_text("utf-8").partition(f'label = "{FIFTH}"\n')
    entry, following, rest = rest.partition("[[step]]")
    changes, parts_heading, parts = entry.partition("[step.parts]\n")
    assert parts.count(before) == 1
    entry = changes + parts_heading + parts.replace(before, after)
    file.write_text(start + heading + entry + following + rest, "utf-8")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            '"chat/health.py",',
            "",
            "step05_deploy/chat/health.py is in no part: name it in [step.parts] of "
            "step05_deploy in course/steps.toml, where it is to be read.",
        ),
        (
            '"chat/health.py",',
            '"chat/health.py", "client.py",',
            "course/steps.toml names client.py of step05_deploy more than once in the parts: "
            "layer and workers, surviving a restart.",
        ),
        (
            '"chat/health.py",',
            '"chat/health.py", "chat/health.py",',
            "course/steps.toml names chat/health.py of step05_deploy more than once in the "
            "parts: layer and workers, layer and workers.",
        ),
        (
            '"chat/health.py",',
            '"chat/health.py", "chat/helth.py",',
            "course/steps.toml has chat/helth.py in the part layer and workers of step05_deploy, "
            "but not among what step05_deploy adds, changes or removes.",
        ),
        (
            '"chat/health.py",',
            '"chat/health.py", "manage.py",',
            "course/steps.toml has manage.py in the part layer and workers of step05_deploy, "
            "but not among what step05_deploy adds, changes or removes.",
        ),
        (
            '"chat/health.py",',
            '"chat/health.py", "tests/test_health.py",',
            "course/steps.toml has tests/test_health.py in the part layer and workers of "
            "step05_deploy, but make diff leaves such files out: take it out of the part.",
        ),
        (
            '"proxy" = [',
            '"nothing" = []\n"proxy" = [',
            "course/steps.toml: the part nothing of step05_deploy has no files.",
        ),
    ],
)
def test_a_change_of_the_parts_is_seen(real, before, after, said):
    """Each file that `make diff` shows is in one part, and nothing else is."""
    rewrite_parts(real, before, after)
    assert manifest.problems(real) == [said]


def test_a_new_file_needs_its_part(real):
    """Where a step has parts, the lists alone are not enough."""
    for step in all_steps(real)[4:]:
        (step.folder / "chat" / "new.py").write_text("", "utf-8")
    declare(real, 'adds = [\n  "chat/fanout.py"', 'adds = [\n  "chat/new.py", "chat/fanout.py"')
    (sentence,) = manifest.problems(real)
    assert sentence.startswith(f"{FIFTH}/chat/new.py is in no part: ")


def test_each_part_is_read_in_its_order(real):
    """Parts and files keep the order in which they are written down."""
    (fifth,) = (entry for entry in manifest.load(real) if entry.label == FIFTH)
    assert [*fifth.parts] == [
        "settings",
        "layer and workers",
        "proxy",
        "surviving a restart",
        "fan-out",
    ]
    manifest_text = (real / "course" / "steps.toml").read_text("utf-8")
    listing = manifest_text.partition('"fan-out" = [')[2].partition("]")[0]
    assert list(fifth.parts["fan-out"]) == re.findall('"(.+)"', listing)


def test_a_step_without_parts_stays_without(real):
    """Parts are for the step that needs them."""
    file = real / "course" / "steps.toml"
    parts = re.compile(r"^\[step\.parts\]\n.*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
    file.write_text(parts.sub("", file.read_text("utf-8")), "utf-8")
    assert manifest.problems(real) == []
    assert not any(entry.parts for entry in manifest.load(real))


def test_a_missing_manifest_is_refused(root):
    """The sentence names the file."""
    (root / "course" / "steps.toml").unlink()
    with pytest.raises(UserError, match=r"course/steps\.toml cannot be read"):
        manifest.problems(root)


def test_the_command_says_one_line_and_is_quick():
    """`make drift` on the real course."""
    started = time.monotonic()
    shown = run_course("drift")
    assert time.monotonic() - started < 2
    assert shown.returncode == 0
    assert len(shown.stdout.splitlines()) == 1
    assert len(shown.stdout) <= 81


def test_the_command_fails_with_the_sentences(root, capsys):
    """Exit code 1, the sentences, and how many."""
    (root / "step02_groups" / "chat" / "apps.py").write_text("", "utf-8")
    assert manifest.drift(root) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("step02_groups/chat/apps.py differs from step01_echo")
    assert shown.err == "The steps and course/steps.toml disagree in 1 place: see above.\n"
