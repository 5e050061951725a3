"""`make lint`: no complaint about the course, and a complaint about each kind of mistake."""

import subprocess
import sys
from pathlib import Path

from course.checks.tools.conftest import add_step, run_course
from course.core.steps import ROOT
from course.maintain import lint

STEP = "step01_echo/chat"
WORKFLOW = "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: make}]}}\n"
UNTYPED = '''"""Bad."""\n\n\ndef double(number):\n    """Double."""\n    return 2 * number\n'''
JS = "export const answer = 42;\n"
DEFECTS = {
    f"{STEP}/unused.py": '"""Bad."""\n\nimport os\n',
    f"{STEP}/spaced.py": '"""Bad."""\n\nurls = [ 1 ]\n',
    "step01_echo/tests/test_bare.py": '"""Tests."""\n\n\ndef test_one():\n    pass\n',
    "step01_echo/tests/test_half.py": '"""No sentence"""\n',
    "course/tight.py": '"""Bad."""\n\nANSWER=42\n',
    f"{STEP}/templates/chat/open.html": "<html><p></html>\n{% endblock %}\n",
    "course/interim/step02_x/part01/chat/templates/chat/half.html": "<html><p></html>\n",
    "course/interim/step02_x/part01/chat/static/chat/wild.js": "debugger;\n",
    f"{STEP}/static/chat/loose.js": "if (a == 1) { debugger; }\n",
    "course/untyped.py": UNTYPED,
    "docs/examples/web/live/unasked.py": '"""Bad."""\n\nimport os\n',
    "docs/examples/web/live/wide.py": '"""Bad."""\n\nurls = [ 1 ]\n',
    "docs/examples/web/live/templates/live/torn.html": "<html><p></html>\n",
    "docs/examples/web/live/static/live/lone.js": "debugger;\n",
    ".github/workflows/jobless.yml": "on: push\njobs: {}\n",
}


def run_linters(root, files):
    """Write files to `root`; return each linter's name, exit code and output."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, "utf-8")
    running = [
        subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for command in lint.commands(Path(sys.executable), root)
    ]
    said = [process.communicate()[0].decode() for process in running]
    return [
        (Path(process.args[0]).stem, process.returncode, text)
        for process, text in zip(running, said, strict=True)
    ]


def test_the_course_is_clean():
    """`make lint` has no complaint, also not about the English."""
    done = run_course("lint")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


WHO, WHAT = "Who", "What"
SENTENCES = {
    "a.py": f'"""{WHO} comes late\n\n{WHO} stores a message\nlocks its room. {WHO} waits?\n"""\n',
    "b.py": f'x = 1  # {WHAT} comes in\n# twice: is dropped.\ny = f"{WHO}ever is late" "waits."\n',
    "c.py": f'X = ["{WHAT} is new", "Files to read."]\n# Ready. {WHAT} is it,\n# and why?\n',
    "chat.js": f"// A comment. {WHO} listens hears.\nconst {WHO} = 1.0;\n",
    "page.html": f"<h2>{WHAT} is new</h2>\n<p>{WHAT} is new is marked.</p>\n",
    "README.md": f"# {WHAT} is new\n\n| {WHAT} it is |\n\n1. {WHAT} is new?\n- {WHAT} is new.\n",
    "notes.txt": f"{WHO} reads this is not meant.\n",
}


def test_a_sentence_that_begins_with_a_clause_is_found(tmp_path):
    """Comments, docstrings, messages, pages and docs are checked; questions and headings pass."""
    add_step(tmp_path, "step01_echo", SENTENCES)
    assert list(lint.clauses(tmp_path)) == [
        f"step01_echo/README.md:6: {WHAT} is new.",
        f"step01_echo/a.py:3: {WHO} stores a message locks its room.",
        f"step01_echo/b.py:1: {WHAT} comes in twice: is dropped.",
        f'step01_echo/b.py:3: {WHO}ever is late" "waits.',
        f"step01_echo/chat.js:1: {WHO} listens hears.",
        f"step01_echo/page.html:2: {WHAT} is new is marked.",
    ]


def test_each_tool_finds_what_it_is_there_for(tmp_path):
    """Each tool passes a clean file, and names the defect in a bad one."""
    good = {
        f"{STEP}/templates/chat/ok.html": "<p>Hello</p>\n",
        f"{STEP}/static/chat/ok.js": JS,
        "course/ok.py": '"""Good."""\n\nANSWER = 42\n',
        ".github/workflows/ok.yml": WORKFLOW,
        "step01_echo/manage.py": '"""Good."""\n',
        "course/interim/step02_x/part01/chat/static/chat/ok.js": JS,
        "course/interim/step02_x/part01/chat/templates/chat/ok.html": "<p>Hello</p>\n",
    }
    for name in ("pyproject.toml", "course/oxlint.json"):
        good[name] = (ROOT / name).read_text("utf-8")
    files = good | DEFECTS
    found = run_linters(tmp_path, files)
    assert all(code != 0 for _, code, _ in found)
    named = [[Path(file).name for file in files if Path(file).name in said] for *_, said in found]
    assert list(zip([tool for tool, *_ in found], named, strict=True)) == [
        ("ruff", ["unused.py", "test_bare.py", "test_half.py", "unasked.py"]),
        ("ruff", ["tight.py"]),
        ("ruff", ["spaced.py", "wide.py"]),
        ("djlint", ["open.html", "half.html", "torn.html"]),
        ("oxlint", ["wild.js", "loose.js", "lone.js"]),
        ("mypy", ["untyped.py"]),
        ("check-jsonschema", []),  # prints nothing, so its exit code must do
    ]
