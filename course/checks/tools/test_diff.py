"""`make diff`: the changes for a class, the files left out, and the counted lines."""

import re
import subprocess
import sys

import pytest

from course.checks.tools.conftest import add_step, clean
from course.core.steps import ROOT
from course.core.terminal import UserError
from course.learn import diff

LINES = "".join(f"line {n}\n" for n in range(20))


MANIFEST = """
[[step]]
label = "step01_echo"
concept = "a socket"

[[step]]
label = "step02_groups"
concept = "groups"
[[step.part]]
name = "the server"
files = ["requirements.txt", "chat/new.py", "chat/old.py", "chat/consumers.py", "chat/gone.py",
  "chat/static/chat/chat.js", "chat/migrations/0001_initial.py", "tests/test_groups.py"]
[[step.part]]
name = "the page"
files = [
  "chat/templates/chat/日本語.html",
  "chat/static/chat/chat.js",
  "chat/static/chat/chat.css",
]
[[step.part]]
name = "proxy"
files = ["deploy/nginx.conf", "chat/static/chat/icon.png"]
"""


@pytest.fixture
def root(tmp_path):
    """A course of two small steps that differ in every possible way."""
    same = {"chat/apps.py": "same\n", "chat/old.py": LINES}
    add_step(
        tmp_path,
        "step01_echo",
        same
        | {
            "chat/consumers.py": "a\nb\nc\n",
            "chat/gone.py": "x\ny\n",
            "README.md": "one\n",
            "chat/static/chat/chat.js": "1\n",
            "chat/static/chat/chat.css": "1\n",
        },
    )
    second = add_step(
        tmp_path,
        "step02_groups",
        {
            "chat/apps.py": "same\n",
            "chat/new.py": LINES,
            "chat/consumers.py": "a\nB\nc\nd\n",
            "chat/templates/chat/日本語.html": "<p>\n",
            "chat/static/chat/chat.js": "2\n3\n",
            "chat/static/chat/chat.css": "2\n",
            "chat/migrations/0001_initial.py": "m\n" * 7,
            "README.md": "two\nlines\n",
            "tests/test_groups.py": "t\n" * 5,
            "deploy/nginx.conf": "n\n",
            "requirements.txt": "django\n",
        },
    )
    (second / "chat" / "static" / "chat" / "icon.png").write_bytes(b"\x89PNG\0")
    # chat.js has a version between the two steps: part 1 writes the 2, and part 2 writes the 3.
    interim = {"chat/static/chat/chat.js": "2\n"}
    add_step(tmp_path, "course/interim/step02_groups/part01", interim)
    (tmp_path / "course" / "steps.toml").write_text(MANIFEST, "utf-8")
    return tmp_path


@pytest.fixture
def shown(root, capsys):
    """The output of `make diff` for the two steps, through a pipe."""
    assert diff.show("1", "2", root=root) == 0
    return capsys.readouterr().out


def outline(text):
    """Return the headings of parts and the files of a printed diff, in order."""
    found = re.findall(r"^(?:=+\n(.*)\n=+|diff --git \S+ [^/]+/(\S+))$", text, re.MULTILINE)
    return [" ".join(title.split()) or file for title, file in found]


def test_changes_are_shown_under_paths_that_read_well(shown):
    """Paths start with the name of their mid-point, and a pipe gets no colours."""
    name = "chat/consumers.py"
    assert f"--- step01_echo/{name}\n+++ step02_groups-part01/{name}\n" in shown
    assert "\n-b\n+B\n" in shown
    assert "+++ step02_groups-part02/chat/templates/chat/日本語.html" in shown
    assert "\033" not in shown
    assert "\nindex " not in shown


def test_renames_and_deletions_are_shown(shown):
    """A moved file is a rename, and a removed file is a deletion."""
    assert "rename from chat/old.py\nrename to chat/new.py" in shown
    assert "--- step01_echo/chat/gone.py\n+++ /dev/null" in shown


def test_what_is_left_out_is_named_with_its_lines(shown):
    """Each part names its tests, migrations and pictures, and the first part the README."""
    left_out = re.findall(r"^Left out above: (.*(?:\n.+)*)$", shown, re.M)
    assert [" ".join(text.split()) for text in left_out] == [
        "chat/migrations/0001_initial.py +7 −0, tests/test_groups.py +5 −0, README.md +2 −1",
        "chat/static/chat/icon.png +0 −0",
    ]
    assert not {"README.md", "chat/static/chat/icon.png"} & set(outline(shown))


def test_lines_are_counted_by_kind(shown):
    """Each kind has a row; the budget is Python, templates and JavaScript."""
    rows = {tuple(line.split()) for line in shown[shown.index("\nkind ") :].splitlines()}
    assert {
        ("Python", "2", "3"),  # consumers and gone; a rename changes no line
        ("templates", "1", "0"),
        ("JavaScript", "2", "1"),
        ("CSS", "1", "1"),
        ("deployment", "1", "0"),
        ("tests", "5", "0"),
        ("README", "2", "1"),
        ("other", "8", "0"),  # the migration does not count as Python
        ("budget", "(Python,", "templates,", "JavaScript)", "5", "4"),
    } <= rows


def test_a_step_against_itself_is_a_mistake(root):
    """A sentence asks for two different steps."""
    with pytest.raises(UserError, match="step01_echo against itself"):
        diff.show("1", "01", root=root)


def test_parts_come_in_the_order_of_the_manifest(root, capsys):
    """Each part has a heading with its lines, and its files come in the manifest's order."""
    diff.show("1", "2", root=root)
    shown = capsys.readouterr().out
    assert outline(shown) == [
        "Part 1 of 3: the server +4 −4",
        "requirements.txt",
        "chat/new.py",
        "chat/consumers.py",
        "chat/gone.py",
        "chat/static/chat/chat.js",
        "Part 2 of 3: the page +3 −1",
        "chat/templates/chat/日本語.html",
        "chat/static/chat/chat.js",
        "chat/static/chat/chat.css",
        "Part 3 of 3: proxy +1 −0",
        "deploy/nginx.conf",
    ]
    assert "\033" not in shown


def test_a_file_of_several_parts_shows_in_each_what_that_part_changes(root, capsys):
    """The diff compares mid-point with mid-point, under the names of both."""
    diff.show("1", "2", root=root, only="chat/static/chat/chat.js")
    shown = capsys.readouterr().out
    assert outline(shown) == [
        "Part 1 of 3: the server +1 −1",
        "chat/static/chat/chat.js",
        "Part 2 of 3: the page +1 −0",
        "chat/static/chat/chat.js",
    ]
    first, second = re.findall(r"^--- (.*)\n\+\+\+ (.*)\n@@.*\n((?:[-+ ].*\n)+)", shown, re.M)
    name = "chat/static/chat/chat.js"
    assert first == (f"step01_echo/{name}", f"step02_groups-part01/{name}", "-1\n+2\n")
    assert second == (f"step02_groups-part01/{name}", f"step02_groups-part02/{name}", " 2\n+3\n")
    assert "Left out" not in shown
    assert shown.splitlines()[-1].split()[-2:] == ["2", "1"]


def test_one_part_is_shown_and_counted_alone(root, capsys):
    """The files of the other parts are left out."""
    diff.show("1", "2", "2", root=root)
    shown = capsys.readouterr().out
    assert outline(shown)[0] == "Part 2 of 3: the page +3 −1"
    assert len(outline(shown)) == 4
    assert "Left out" not in shown
    rows = [line.split() for line in shown[shown.index("\nkind ") :].splitlines()[2:]]
    assert [row[-2:] for row in rows if len(row) > 1] == [
        ["1", "0"],
        ["1", "0"],
        ["1", "1"],
        ["2", "0"],
    ]


def test_one_file_is_shown_though_others_would_be_noise(root, capsys):
    """A file that the reader asks for is shown, even a test."""
    diff.show("1", "2", "1", "tests/test_groups.py", root=root)
    shown = capsys.readouterr().out
    assert outline(shown) == ["Part 1 of 3: the server +5 −0", "tests/test_groups.py"]
    diff.show("2", "1", only="chat/gone.py", root=root)
    assert outline(capsys.readouterr().out) == ["chat/gone.py"]


@pytest.mark.parametrize(("part", "file"), [("3", "chat/gone.py"), (None, "chat/apps.py")])
def test_one_file_that_does_not_change_is_a_mistake(root, part, file):
    """The sentence names the file."""
    with pytest.raises(UserError, match=f"{file} does not change there"):
        diff.show("1", "2", part, file, root=root)


def test_a_file_that_the_manifest_does_not_know_comes_last(root, capsys):
    """A maintainer who is writing a step sees all of its files."""
    (root / "step02_groups" / "chat" / "a.py").write_text("1\n", "utf-8")
    diff.show("1", "2", root=root)
    assert outline(capsys.readouterr().out)[-2:] == ["deploy/nginx.conf", "chat/a.py"]


def test_a_step_without_parts_is_shown_as_it_is(root, capsys):
    """While a step is being written, its parts may be missing."""
    (root / "course" / "steps.toml").write_text(MANIFEST.partition("[[step.part]]")[0], "utf-8")
    diff.show("1", "2", root=root)
    assert outline(capsys.readouterr().out)[0] == "chat/consumers.py"


def test_backwards_there_are_no_parts(root, capsys):
    """A diff from the later step to the earlier step has no parts, and counts the other way."""
    diff.show("2", "1", root=root)
    shown = capsys.readouterr().out
    assert "Part" not in shown
    assert shown.splitlines()[-1].split()[-2:] == ["4", "5"]


def test_a_part_that_is_none_is_a_mistake(root):
    """The sentence names the parts."""
    named = r"has no part 4; its parts are 1 \(the server\), 2 \(the page\), 3 \(proxy\)\."
    with pytest.raises(UserError, match=named):
        diff.show("1", "2", "4", root=root)


@pytest.mark.parametrize(
    "steps", [("step02_groups", "step01_echo"), ("step03_persistence", "step05_deploy")]
)
def test_a_part_where_there_are_none_is_a_mistake(steps):
    """Only a diff from a step to the next one has parts; the sentence says so."""
    with pytest.raises(UserError, match=f"From {steps[0]} to {steps[1]} there are no parts"):
        diff.show(*steps, "1")


def test_make_passes_the_part_on():
    """PART and ONLY reach the course."""
    command = ["make", "diff", "FROM=1", "TO=2", "PART=1", "ONLY=chat/consumers.py"]
    command.append(f"PYTHON={sys.executable}")
    shown = subprocess.run(
        command, cwd=ROOT, env=clean(), capture_output=True, encoding="utf-8", timeout=60
    )
    assert shown.returncode == 0
    assert shown.stdout.splitlines()[1].startswith("Part 1 of ")
    assert outline(shown.stdout)[1:] == ["chat/consumers.py"]


def test_on_a_terminal_it_is_coloured_and_paged(terminal):
    """The diff goes through git's pager; here the pager changes the case.

    Each line of a heading is bold by itself, for pagers.
    """
    command = [sys.executable, "-m", "course", "diff", "1", "2"]
    shown = terminal(command, ROOT, GIT_PAGER="tr a-z A-Z")
    assert shown.wait() == 0
    assert "\033[1M" + "=" * 59 + "\033[0M\n\033[1MPART 1 OF " in shown.seen.replace("\r", "")
    assert "\033[1MDIFF --GIT STEP01_ECHO/CHAT/CONSUMERS.PY" in shown.seen
    assert "BUDGET (PYTHON, TEMPLATES, JAVASCRIPT)" in shown.seen


def test_a_colour_of_two_words_changes_nothing_but_the_colour(root, capsys, monkeypatch):
    """Files are still told apart, and the lines of hashes are left out."""
    monkeypatch.setattr(diff, "wants_colour", lambda stream: True)
    setting = {"COUNT": "1", "KEY_0": "color.diff.meta", "VALUE_0": "yellow bold"}
    for name, value in setting.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    diff.show("1", "2", "3", root=root)
    shown = capsys.readouterr().out
    assert "\033[1;33mdiff --git " in shown
    assert "index " not in shown


def test_a_hunk_names_its_method(root, capsys):
    """Git's headers of hunks name the method of Python, not only the class."""
    method = "class A:\n    def b(self):\n" + "        c()\n" * 9
    for number, label in enumerate(("step01_echo", "step02_groups")):
        (root / label / "chat" / "apps.py").write_text(f"{method}        d({number})\n", "utf-8")
    diff.show("1", "2", root=root)
    assert re.search(r"^@@ .* @@ def b\(self\):$", capsys.readouterr().out, re.MULTILINE)


def test_a_file_in_another_encoding_is_shown_as_far_as_it_can_be_read(root, capsys):
    """The diff shows replacement characters, so the reader sees the wrong encoding."""
    (root / "step02_groups" / "chat" / "consumers.py").write_bytes("a\ncafé\n".encode("latin-1"))
    diff.show("1", "2", root=root)
    assert "\n+caf\ufffd\n" in capsys.readouterr().out


def test_the_readers_own_settings_of_git_do_not_matter(root, capsys, monkeypatch, tmp_path_factory):
    """The diff ignores the reader's prefixes, colours and external tools."""
    config = tmp_path_factory.mktemp("home") / "config"
    config.write_text(
        "[diff]\nexternal = false\nmnemonicPrefix = true\nrenames = false\n[color]\nui = always\n"
    )
    diff.show("1", "2", root=root)
    usual = capsys.readouterr().out
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    diff.show("1", "2", root=root)
    assert capsys.readouterr().out == usual
