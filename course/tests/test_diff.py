"""`make diff`: the concept, what was left out, and the lines counted."""

import sys

import pytest

from course import diff
from course.steps import ROOT
from course.terminal import UserError
from course.tests.conftest import add_step

LINES = "".join(f"line {n}\n" for n in range(20))


@pytest.fixture
def root(tmp_path):
    """Two small steps that differ in every way a step can."""
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
    return tmp_path


@pytest.fixture
def shown(root, capsys):
    """What the diff of the two prints when piped."""
    assert diff.show("1", "2", root) == 0
    return capsys.readouterr().out


def test_changes_are_shown_under_paths_that_read_well(shown):
    """Paths start with the step's folder; nothing is coloured when piped."""
    assert "--- step01_echo/chat/consumers.py\n+++ step02_groups/chat/consumers.py\n" in shown
    assert "\n-b\n+B\n" in shown
    assert "+++ step02_groups/chat/templates/chat/日本語.html" in shown
    assert "\033" not in shown
    assert "\nindex " not in shown


def test_renames_and_deletions_are_shown(shown):
    """A moved file is no new one, and a removed file is seen to go."""
    assert "rename from step01_echo/chat/old.py\nrename to step02_groups/chat/new.py" in shown
    assert "--- step01_echo/chat/gone.py\n+++ /dev/null" in shown


def test_what_is_left_out_is_named_with_its_lines(shown):
    """Tests, README, migrations and pictures are not shown, and not hidden either."""
    code, _, closing = shown.partition("Left out above:")
    for name in ("README.md", "tests/", "migrations", "icon.png"):
        assert name not in code
    named = " ".join(closing.split())
    assert "README.md +2 −1" in named
    assert "tests/test_groups.py +5 −0" in named
    assert "chat/migrations/0001_initial.py +7 −0" in named
    assert "chat/static/chat/icon.png" in named


def test_lines_are_counted_by_kind(shown):
    """Each kind has its row; the budget is Python, templates and JavaScript."""
    rows = {tuple(line.split()) for line in shown[shown.index("\nkind ") :].splitlines()}
    assert {
        ("Python", "9", "3"),  # consumers, gone, the migration; a rename changes no line
        ("templates", "1", "0"),
        ("JavaScript", "2", "1"),
        ("CSS", "1", "1"),
        ("deployment", "1", "0"),
        ("tests", "5", "0"),
        ("README", "2", "1"),
        ("other", "1", "0"),
        ("budget", "(Python,", "templates,", "JavaScript)", "12", "4"),
    } <= rows


def test_the_other_way_round_counts_the_other_way(root, capsys):
    """Any two steps can be compared, in any order."""
    diff.show("2", "1", root)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split()[-2:] == ["4", "12"]


def test_a_step_against_itself_is_a_mistake(root):
    """The sentence says so."""
    with pytest.raises(UserError, match="step01_echo against itself"):
        diff.show("1", "01", root)


def test_on_a_terminal_it_is_coloured_and_paged(terminal):
    """Through the pager that git would use, here one that shouts."""
    command = [sys.executable, "-m", "course", "diff", "1", "2"]
    shown = terminal(command, ROOT, GIT_PAGER="tr a-z A-Z")
    assert shown.wait() == 0
    assert "\033[1MDIFF --GIT STEP01_ECHO/CHAT/CONSUMERS.PY" in shown.seen
    assert "BUDGET (PYTHON, TEMPLATES, JAVASCRIPT)" in shown.seen


def test_the_readers_own_settings_of_git_do_not_matter(root, capsys, monkeypatch, tmp_path_factory):
    """Prefixes, colours and external tools are for the reader's own work."""
    config = tmp_path_factory.mktemp("home") / "config"
    config.write_text(
        "[diff]\nexternal = false\nmnemonicPrefix = true\nrenames = false\n[color]\nui = always\n"
    )
    diff.show("1", "2", root)
    usual = capsys.readouterr().out
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    diff.show("1", "2", root)
    assert capsys.readouterr().out == usual
