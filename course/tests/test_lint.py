"""`make lint`: silent about what we ship, and not blind."""

import subprocess
import sys
from pathlib import Path

import pytest

from course import lint
from course.environment import venv_program
from course.steps import ROOT
from course.tests.conftest import run_course

STEP = "step01_echo/chat"
WORKFLOW = "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: make}]}}\n"
JS = "export const answer = 42;\n"
ASGI = '''"""The order of this file matters."""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django_application = get_asgi_application()

from chat.routing import websocket_urlpatterns

application = ProtocolTypeRouter({"http": django_application, "websocket": websocket_urlpatterns})
'''


def test_the_course_is_clean():
    """Nothing to say, and exit code 0."""
    done = run_course("lint")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("tool", "file", "text"),
    [
        ("ruff", f"{STEP}/views.py", "import os\n"),
        ("ruff", f"{STEP}/urls.py", "urls = [ 1 ]\n"),
        ("djlint", f"{STEP}/templates/chat/a.html", "<html><p></html>\n{% endblock %}\n"),
        ("oxlint", f"{STEP}/static/chat/a.js", "if (a == 1) { debugger; }\n"),
        ("mypy", "course/untyped.py", "def double(number):\n    return 2 * number\n"),
        ("check-jsonschema", ".github/workflows/a.yml", "on: push\njobs: {}\n"),
    ],
)
def test_each_tool_finds_what_it_is_there_for(tmp_path, tool, file, text):
    """One defect in one file fails exactly the tool that looks at such files."""
    files = {
        f"{STEP}/templates/chat/ok.html": "<p>Hello</p>\n",
        f"{STEP}/static/chat/ok.js": JS,
        "course/ok.py": "ANSWER = 42\n",
        ".github/workflows/ok.yml": WORKFLOW,
        "step01_echo/manage.py": "",
        file: text,
    }
    for name in ("pyproject.toml", "course/oxlint.json"):
        files[name] = (ROOT / name).read_text("utf-8")
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, "utf-8")
    running = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        for command in lint.commands(Path(sys.executable), tmp_path)
    ]
    assert {Path(done.args[0]).stem for done in running if done.wait() != 0} == {tool}


def test_the_order_of_asgi_py_is_kept(tmp_path):
    """Imports that reach a model stay below the call that sets Django up."""
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    asgi = tmp_path / "step01_echo" / "config" / "asgi.py"
    asgi.parent.mkdir(parents=True)
    asgi.write_text(ASGI)
    ruff = venv_program(Path(sys.executable).parent.parent, "ruff")
    done = subprocess.run([ruff, "check", "--fix", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert asgi.read_text() == ASGI
