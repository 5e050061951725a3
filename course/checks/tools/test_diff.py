"""`make diff`: the changes for a class, the files left out, and the counted lines."""

import re
import sys
from itertools import pairwise

import pytest

from course.checks.tools.conftest import add_step, run_make
from course.core.steps import ROOT, all_steps
from course.core.terminal import UserError
from course.learn import diff

NAME = "chat/static/chat/chat.js"
LINES = "".join(f"line {n}\n" for n in range(20))
MANIFEST = f"""
[[step]]
label = "step01_echo"
concept = "a socket"

[[step]]
label = "step02_groups"
concept = "groups"
[[step.part]]
name = "the server"
files = ["requirements.txt", "chat/new.py", "chat/old.py", "chat/consumers.py", "chat/gone.py",
  "{NAME}", "chat/migrations/0001_initial.py", "tests/test_groups.py"]
[[step.part]]
name = "the page"
files = ["chat/templates/chat/日本語.html", "{NAME}", "chat/static/chat/chat.css"]
[[step.part]]
name = "proxy"
files = ["deploy/nginx.conf", "chat/static/chat/icon.png"]
"""
BEFORE = {
    "README.md": "one\n",
    "chat/apps.py": "same\n",
    "chat/old.py": LINES,
    "chat/consumers.py": "a\nb\nc\n",
    "chat/gone.py": "x\ny\n",
    NAME: "1\n",
    "chat/static/chat/chat.css": "1\n",
}
AFTER = {
    "README.md": "two\nlines\n",
    "chat/apps.py": "same\n",
    "chat/new.py": LINES,
    "chat/consumers.py": "a\nB\nc\nd\n",
    NAME: "2\n3\n",
    "chat/static/chat/chat.css": "2\n",
    "chat/templates/chat/日本語.html": "<p>\n",
    "chat/migrations/0001_initial.py": "m\n" * 7,
    "tests/test_groups.py": "t\n" * 5,
    "deploy/nginx.conf": "n\n",
    "requirements.txt": "django\n",
}


@pytest.fixture
def root(tmp_path):
    """A course of two small steps that differ in every possible way."""
    add_step(tmp_path, "step01_echo", BEFORE)
    second = add_step(tmp_path, "step02_groups", AFTER)
    (second / "chat" / "static" / "chat" / "icon.png").write_bytes(b"\x89PNG\0")
    # chat.js has a version between the two steps: part 1 writes the 2, and part 2 writes the 3.
    add_step(tmp_path, "course/interim/step02_groups/part01", {NAME: "2\n"})
    (tmp_path / "course" / "steps.toml").write_text(MANIFEST, "utf-8")
    return tmp_path


@pytest.fixture
def shown(root, capsys):
    """A function that returns the output of `make diff` for the two steps, through a pipe."""

    def show(first="1", second="2", part=None, only=None):
        assert diff.show(first, second, part, only, root) == 0
        return capsys.readouterr().out

    return show


def outline(text):
    """Return the headings and the files of a printed diff, in order."""
    found = re.findall(
        r"^(?:=+\n(.*)\n(?:Python, .*\n)?=+|diff --git \S+ [^/]+/(\S+))$", text, re.MULTILINE
    )
    return [" ".join(title.split()) or file for title, file in found]


def test_parts_come_in_the_order_of_the_manifest(shown):
    """Each part has a heading with its lines, and its files come in the manifest's order.

    Headings do not count the files that are left out, and a rename changes no line.
    """
    assert outline(shown()) == [
        "Part 1 of 3: the server +4 −4",
        "requirements.txt",
        "chat/new.py",
        "chat/consumers.py",
        "chat/gone.py",
        NAME,
        "Part 2 of 3: the page +3 −1",
        "chat/templates/chat/日本語.html",
        NAME,
        "chat/static/chat/chat.css",
        "Part 3 of 3: proxy +1 −0",
        "deploy/nginx.conf",
        "All lines above +8 −5",
    ]


def test_changes_are_shown_under_paths_that_read_well(shown):
    """Paths start with the name of their mid-point, and a pipe gets no colours or hashes.

    Each part names the lines of its tests, migrations and pictures; the first part the README too.
    """
    text, name = shown(), "chat/consumers.py"
    assert f"--- step01_echo/{name}\n+++ step02_groups-part01/{name}\n" in text
    assert "\n-b\n+B\n" in text
    assert "rename from chat/old.py\nrename to chat/new.py" in text
    assert "--- step01_echo/chat/gone.py\n+++ /dev/null" in text
    assert "\033" not in text
    assert "\nindex " not in text
    left_out = re.findall(r"^Left out above: (.*(?:\n.+)*)$", text, re.M)
    assert [" ".join(each.split()) for each in left_out] == [
        "chat/migrations/0001_initial.py +7 −0, tests/test_groups.py +5 −0, README.md +2 −1",
        "chat/static/chat/icon.png +0 −0",
    ]


def test_a_file_of_several_parts_shows_in_each_what_that_part_changes(shown):
    """The diff compares mid-point with mid-point, under the names of both."""
    text = shown(only=NAME)
    assert outline(text)[-1] == "All lines above +2 −1"
    first, second = re.findall(r"^--- (.*)\n\+\+\+ (.*)\n@@.*\n((?:[-+ ].*\n)+)", text, re.M)
    assert first == (f"step01_echo/{NAME}", f"step02_groups-part01/{NAME}", "-1\n+2\n")
    assert second == (f"step02_groups-part01/{NAME}", f"step02_groups-part02/{NAME}", " 2\n+3\n")
    assert "Left out" not in text


def test_a_part_or_a_file_is_shown_alone(shown):
    """A file that the reader asks for is shown, even a test. Backwards, there are no parts."""
    alone = outline(shown(part="2"))
    assert (alone[0], alone[-1]) == ("Part 2 of 3: the page +3 −1", "All lines above +3 −1")
    assert len(alone) == 5
    heading, file, _ = outline(shown(part="1", only="tests/test_groups.py"))
    assert (heading, file) == ("Part 1 of 3: the server +5 −0", "tests/test_groups.py")
    back = outline(shown("2", "1"))
    assert (back[0], back[-1]) == ("chat/consumers.py", "All lines above +5 −8")


def test_a_maintainer_who_is_writing_a_step_sees_all_of_it(root, shown):
    """A file that the manifest does not know comes last, and parts may be missing."""
    (root / "step02_groups" / "chat" / "a.py").write_text("1\n", "utf-8")
    assert outline(shown())[-3:-1] == ["deploy/nginx.conf", "chat/a.py"]
    (root / "course" / "steps.toml").write_text(MANIFEST.partition("[[step.part]]")[0], "utf-8")
    assert outline(shown())[:2] == ["chat/a.py", "chat/consumers.py"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("1", "01"), "step01_echo against itself shows nothing"),
        (("1", "2", "3", "chat/gone.py"), "chat/gone.py does not change there"),
        (("1", "2", None, "chat/apps.py"), "chat/apps.py does not change there"),
        (("1", "2", "4"), "has no part 4; its parts are 1 (the server), 2 (the page), 3 (proxy)."),
        (("2", "1", "1"), "From step02_groups to step01_echo there are no parts: leave out PART."),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(root, arguments, said):
    """The sentence names what the reader asked for, and what there is."""
    with pytest.raises(UserError, match=re.escape(said)):
        diff.show(*arguments, root=root)


def test_make_passes_the_part_on():
    """PART and ONLY reach the course."""
    shown = run_make("diff", "FROM=1", "TO=2", "PART=1", "ONLY=chat/consumers.py")
    assert shown.returncode == 0
    heading, *files, total = outline(shown.stdout)
    assert heading.startswith("Part 1 of ")
    assert files == ["chat/consumers.py"]


def test_on_a_terminal_it_is_coloured_and_paged(terminal):
    """The diff goes through the reader's pager; here the pager changes the case.

    Each line of a heading is bold by itself, for pagers.
    """
    command = [sys.executable, "-m", "course", "diff", "1", "2"]
    shown = terminal(command, ROOT, PAGER="tr a-z A-Z")
    assert shown.wait() == 0
    assert "\033[1M" + "=" * 59 + "\033[0M\n\033[1MPART 1 OF " in shown.seen.replace("\r", "")
    assert "\033[1MDIFF --GIT STEP01_ECHO/CHAT/CONSUMERS.PY" in shown.seen
    assert "ALL LINES ABOVE" in shown.seen


def test_the_readers_own_settings_of_git_change_nothing_but_a_colour(shown, monkeypatch, tmp_path):
    """The diff ignores prefixes and external tools. Lines of hashes go, whatever their colour."""
    usual = shown()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "settings"))
    (tmp_path / "settings").write_text(
        "[diff]\nexternal = false\nmnemonicPrefix = true\nrenames = false\n"
        '[color]\nui = always\n[color "diff"]\nmeta = yellow bold\n'
    )
    assert shown() == usual
    monkeypatch.setattr(diff, "wants_colour", lambda stream: True)
    text = shown(part="3")
    assert "\033[1;33mdiff --git " in text
    assert "index " not in text


def test_a_hunk_names_its_method_and_another_encoding_is_seen(root, shown):
    """Git's headers of hunks name the method. Bytes in no UTF-8 are replaced."""
    method = "class A:\n    def b(self):\n" + "        c()\n" * 9
    for number, label in enumerate(("step01_echo", "step02_groups")):
        (root / label / "chat" / "apps.py").write_text(f"{method}        d({number})\n", "utf-8")
    (root / "step02_groups" / "chat" / "consumers.py").write_bytes("a\ncafé\n".encode("latin-1"))
    text = shown()
    assert re.search(r"^@@ .* @@ def b\(self\):$", text, re.MULTILINE)
    assert "\n+caf\ufffd\n" in text


@pytest.mark.parametrize("pair", list(pairwise(all_steps())), ids=lambda pair: pair[1].label)
def test_no_part_is_too_big_for_a_class(pair, tmp_path):
    """A part adds at most 150 lines of Python, templates and JavaScript."""
    parts = diff.sections(pair, None, ROOT)
    diff.store(parts, tmp_path)
    for part in parts:
        changes = diff.count(part, diff.SHOWN, tmp_path)
        counted = [added for path, added, _ in changes if diff.is_counted(path)]
        assert sum(counted) <= 150, part.title
