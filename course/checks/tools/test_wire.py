"""`TRACE=1`: what an event hides, how bursts and lanes are drawn, and what is refused."""

import http.client
import json
import re
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from websockets.sync.client import connect

from course import wire
from course.checks.tools.conftest import clean, run_course, sentence
from course.core import parts
from course.core.ports import free_port
from course.core.processes import wait_until
from course.core.steps import ROOT, find_step
from course.core.terminal import UserError
from course.wire.collect import Collector
from course.wire.events import COLOURS, Event, fold
from course.wire.inside.hide import hide
from course.wire.picture import STYLE, draw, find_lanes, mermaid, static_svg, svg, terminal_line

SECRET = "h20ge5ezwiexy54h8881ffq18zzvbi00"


def receive(at=0.0, text="hi", number=1, worker=""):
    """Return the event of a frame from a tab to its consumer."""
    return Event(at, "receive", f"{worker}tab {number}", f"{worker}consumer {number}", text)


@pytest.mark.parametrize(
    "value",
    [
        {"token": SECRET},
        {"a": [{"sessionid": "short"}]},
        {"password": "short words"},
        '{"csrfmiddlewaretoken": "short"}',
        '{"frame": "{\\"api_key\\": \\"short\\"}"}',
        '{"password": "short',
        {"password": 'one"short'},
        {"frame": '{"password": "one\\\\\\"short"}'},
        "<QueryDict: {'password': ['short']}>",
        "{b'authorization': b'Token short'}",
        "Authorization: Basic short",
        "connection failed: user=chat pwd=short",
        "/ws/chat/?token=short&after=3",
        f"KeyError: {SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"a cookie: sessionid={SECRET}; csrftoken=short",
        f"eyJ1c2VyIjoxLCJpZCI6Ill9:1xUu5d:{SECRET}",
    ],
)
def test_secrets_are_hidden(value):
    """Tokens, passwords, cookies and session keys never leave the step's process."""
    shown = hide(value)
    assert "short" not in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    "text",
    [
        '{"message": "Hello, everybody!"}',
        '{"sent_at": "2026-11-21T23:01:44.600053+00:00", "username": "ann", "seq": 3}',
        "/ws/chat/日本語/?after=17&as=ann&author=ben&author_id=3",
        "ValueError: No handler for message type chat.mesage (chat/consumers.py:57 in receive)",
    ],
)
def test_ordinary_text_is_shown(text):
    """A reader sees what people wrote, names, numbers and times."""
    assert hide(text) == text


@pytest.mark.parametrize("text", ["a" * 65_536, "token" * 13_000, "[" * 65_536, "1" * 65_536])
def test_the_longest_frames_cost_little(text):
    """A frame of 64 KiB must not hold up the server."""
    began = time.process_time()
    assert len(hide(text)) <= 2000
    assert time.process_time() - began < 5  # a search that begins again at each letter takes more


def test_no_character_breaks_the_page_or_the_terminal():
    """Control characters and halves of characters are replaced."""
    shown = hide("a\x1b[31m\x00\ud800\nb\u202ec")
    assert shown == "a\ufffd[31m\ufffd\ufffd b\ufffdc"
    ET.fromstring(static_svg([receive(text=shown + "<&\"'>")]))


def luminance(colour):
    """Return the relative luminance of a colour such as "#0550ae", as WCAG defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("ground", [0, 1], ids=["light", "dark"])
def test_each_colour_is_legible_on_its_ground(ground):
    """Every kind of event has the contrast 4.5 that WCAG asks for, on light and on dark ground."""
    behind = luminance(re.search(r"--ground: light-dark\((#\w+), (#\w+)\)", STYLE).groups()[ground])
    for name in COLOURS:
        shades = re.search(rf"\.{name} {{ --kind: light-dark\((#\w+), (#\w+)\)", STYLE)
        dark, bright = sorted([luminance(shades.groups()[ground]), behind])
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, name


def test_a_burst_is_one_arrow_with_a_count():
    """A hundred messages fold into one arrow; two messages do not."""
    burst = [receive(number / 100, f"n{number}") for number in range(100)]
    (row,) = fold(burst)
    assert row.label == "receive × 100 n0"
    slow = [receive(at, "slow") for at in range(10)]
    assert fold(burst[:2]) == burst[:2]
    assert fold(slow) == slow


def test_the_layer_stands_between_two_workers():
    """A message that crosses Redis is seen to cross it."""
    events = [receive(number=2, worker="worker2 "), receive(worker="worker1 ")]
    events += [Event(1.0, "group_send", f"worker{n} consumer {n}", "channel layer") for n in (1, 2)]
    events += [Event(1.0, "database", "worker2 task Writer", "database")]
    lanes = ["worker1 tab 1", "worker1 consumer 1", "channel layer", "worker2 tab 2"]
    lanes += ["worker2 consumer 2", "worker2 task Writer", "database"]
    assert find_lanes(events) == lanes
    alone = [
        receive(number=10),
        receive(number=9),
        Event(1.0, "group_send", "views", "channel layer"),
    ]
    lanes = ["tab 9", "consumer 9", "tab 10", "consumer 10", "views", "channel layer"]
    assert find_lanes(alone) == lanes


def test_twelve_tabs_fit_on_a_projector():
    """The lanes of twelve tabs, the channel layer and the database are 1280 pixels wide."""
    rows = [receive(number=number) for number in range(1, 13)]
    rows += [Event(1.0, "database", "channel layer", "database")]
    assert draw(rows, 1280)[0] <= 1280


def test_a_label_is_cut_to_what_fits_and_kept_whole_beside_it():
    """The title of a row, for hover and screen readers, has the whole text."""
    text = "日本語 in a long frame " * 60
    drawn = svg(390, 99, draw([receive(text=text)], 390)[3])
    row = ET.fromstring(drawn).find(".//{*}g[@role='img']")
    assert text.strip() in row.find("{*}title").text
    label = [each.text for each in row.findall("{*}text")][-1]
    assert label.endswith("…")
    assert 18 < sum(2 if letter in "日本語" else 1 for letter in label) < 23


def test_a_recording_gives_the_same_pictures_each_time(tmp_path, capsys):
    """`make wire` writes an SVG without a script, and a Mermaid text."""
    events = [
        receive(),
        receive(1.0, "bye; #1"),
        Event(2, "error", "consumer 1", "consumer 1", "E"),
    ]
    file = tmp_path / "talk.jsonl"
    file.write_text("".join(event.to_json() + "\n" for event in events), "utf-8")
    assert wire.draw(str(file)) == 0
    first = (tmp_path / "talk.svg").read_text("utf-8"), (tmp_path / "talk.mmd").read_text("utf-8")
    assert wire.draw(str(file)) == 0
    assert first == (
        (tmp_path / "talk.svg").read_text("utf-8"),
        (tmp_path / "talk.mmd").read_text("utf-8"),
    )
    ET.fromstring(first[0])
    assert "<script" not in first[0]
    assert "light-dark(" in first[0]
    assert "receive bye#59; #35;1" in first[1]
    assert "\nsequenceDiagram\n    participant l0 as tab 1\n" in mermaid(events)


@pytest.mark.parametrize(
    "wrong", [{"kind": "dance"}, {"source": 3}, {"at": "x"}, {"text": None}, {"colour": "red"}]
)
def test_what_is_no_recording_is_refused(tmp_path, wrong):
    """A sentence names the line."""
    (tmp_path / "talk.jsonl").write_text(json.dumps(vars(receive()) | wrong))
    with pytest.raises(UserError, match="no event of a recording"):
        wire.draw(str(tmp_path / "talk.jsonl"))


def test_a_wrong_trace_is_refused_before_anything_is_done():
    """`TRACE=yes` gets a sentence."""
    assert "TRACE must be 1, or a file" in sentence(run_course("run", "1", "--trace=yes"))
    assert sentence(run_course("wire")).startswith("Which recording? Say: make wire FILE=")


def test_without_trace_nothing_is_loaded():
    """The command line loads no module of the diagram."""
    code = "import course.cli, sys; print([m for m in sys.modules if m.startswith('course.wire.')])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"DJANGO_ALLOWED_HOSTS": "localhost,chat.example"}, "'chat.example']"),
        ({"DJANGO_DEBUG": "off", "DJANGO_ALLOWED_HOSTS": "localhost"}, "DEBUG = False"),
    ],
)
def test_a_site_for_others_is_not_traced(variables, reason):
    """A step that names another host, or runs with debug off, refuses to start with a sentence."""
    secret = {"DJANGO_SECRET_KEY": "a long key for a test"}
    with Collector(free_port()) as collector:
        ended = subprocess.run(
            [sys.executable, "manage.py", "check"],
            cwd=find_step("5").folder,
            env=clean() | collector.variables() | secret | variables,
            capture_output=True,
            text=True,
        )
    assert ended.returncode != 0
    assert "TRACE shows everybody's messages" in ended.stderr
    assert reason in ended.stderr
    assert "Traceback" not in ended.stderr


# The command, but it lays mid-points out in another folder than the learner's.
PART_COMMAND = """
import pathlib, sys
from course import cli
from course.core import parts
real = parts.open_midpoint
parts.open_midpoint = lambda midpoint, root: real(midpoint, pathlib.Path(sys.argv[1]))
sys.exit(cli.main(sys.argv[2:]))
"""
VIEW = "def room(request, room_name):\n"


def test_a_part_is_traced_in_the_terminal_and_in_a_recording(terminal, tmp_path):
    """`make run STEP=2 PART=1 TRACE=talk.jsonl` shows the sockets, and an exception in a view."""
    folder = parts.open_midpoint(parts.find_midpoint(find_step("2"), "1"), tmp_path).folder
    views = folder / "chat" / "views.py"
    text = views.read_text("utf-8")
    assert VIEW in text
    views.write_text(text.replace(VIEW, f"{VIEW}    raise LookupError('planted')\n"), "utf-8")
    port, file = free_port(), tmp_path / "talk.jsonl"
    words = ["run", "2", "--part=1", f"--port={port}", f"--trace={file}"]
    shown = terminal([sys.executable, "-c", PART_COMMAND, str(tmp_path), *words], ROOT)
    shown.read(until="(Ctrl-C stops it)")
    assert "See its messages, drawn live: open " in shown.seen
    assert f"http://127.0.0.1:{port + 1}/" in shown.seen
    socket_url = (
        f"ws://127.0.0.1:{port}/ws/chat/lobby/?token=one%26short&t%6Fken=short&as=J%C3%B6rg"
    )
    with connect(socket_url, origin=f"http://127.0.0.1:{port}") as ann:
        ann.send('{"message": "hello"}')
        assert ann.recv(30) == '{"message": "hello"}'
    shown.read(until="  end")
    with pytest.raises(HTTPError):
        urlopen(f"http://127.0.0.1:{port}/chat/lobby/")
    shown.read(until="(chat/views.py:")
    assert re.search(r"views +→ views +error LookupError: planted", shown.seen)
    shown.type("\x03")
    assert shown.wait() == 0
    kinds = [json.loads(line)["kind"] for line in file.read_text("utf-8").splitlines()]
    talk = ["connect", "group_add", "accept", "receive", "group_send", "event", "send"]
    assert kinds == [*talk, "disconnect", "group_discard", "end", "error"]
    assert "connect /ws/chat/lobby/?token=(hidden)&token=(hidden)&as=Jörg" in shown.seen


def test_a_server_for_others_is_not_traced():
    """A request from another machine gets an error, and not the step's answer."""
    code = "import asyncio; from course.wire.inside.trace import application as it; "
    code += "asyncio.run(it({'type': 'http', 'server': ('192.0.2.1', 80)}, None, None))"
    with Collector(free_port()) as collector:
        ended = subprocess.run(
            [sys.executable, "-c", code],
            cwd=find_step("2").folder,
            env=clean() | collector.variables(),
            capture_output=True,
            text=True,
        )
    assert "TRACE is for this machine only, but somebody has asked 192.0.2.1." in ended.stderr


def test_a_call_of_the_database_that_fails_is_told():
    """The event names the function and the error."""
    code = "import asyncio; from course.wire.inside import trace; "
    code += "from channels.db import database_sync_to_async; "
    code += "asyncio.run(database_sync_to_async(int)('three'))"
    with Collector(free_port()) as collector:
        env = clean() | collector.variables()
        folder = find_step("3").folder
        subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True)
        assert wait_until(lambda: collector.events, 30)
    assert collector.events[0].label.startswith("failed int ValueError")


def ask(collector, path="/", host="", method="GET"):
    """Return the status and the text of an answer of the page's server."""
    place = collector.url.split("/")[2]
    asked = http.client.HTTPConnection(place, timeout=30)
    asked.request(method, path, headers={"Host": host or place, "Authorization": "guess"})
    answer = asked.getresponse()
    return answer.status, answer.read().decode()


def test_the_page_says_how_many_arrows_it_leaves_out():
    """The picture has the last 300 arrows."""
    with Collector(free_port()) as collector:
        for number in range(310):
            collector.put(receive(number, f"line {number}"))
        picture = json.loads(collector.picture(0, 0, -1, 1200))
    assert picture["parts"]["status"] == "310 events, 10 arrows before these are not drawn"
    assert "line 9<" not in picture["parts"]["body"]
    assert "line 10<" in picture["parts"]["body"]


def test_the_terminal_leaves_out_how_a_task_looks_at_the_database(capsys):
    """A task asks the database every two seconds, and would fill the terminal."""
    look = Event(0.0, "database", "worker1 task Process", "database", "read_seqs · 1.0 ms")
    with Collector(free_port()) as collector:
        for event in (look, receive()):
            collector.put(event)
    assert "read_seqs" not in (printed := capsys.readouterr().out)
    assert "receive hi" in printed
    assert len(collector.events) == 2


def test_the_page_is_for_this_machine_only():
    """A foreign name for 127.0.0.1 is refused, and the page can ask no other host."""
    with Collector(free_port()) as collector:
        assert collector.url.startswith("http://127.0.0.1:")
        assert ask(collector, host="evil.example:8001")[0] == 403
        status, page = ask(collector)
        assert status == 200
        assert "Content-Security-Policy\" content=\"default-src 'none'; connect-src 'self';" in page
        assert "http:" not in page
        assert ask(collector, "/picture?size=abc")[0] == 404


def test_a_process_that_dies_within_a_line():
    """The half line is left out, its consumers end, and the next process goes on counting."""
    line = Event(0.0, "connect", "tab 1", "consumer 1").to_json()
    with Collector(free_port()) as collector:
        with socket.create_connection(("127.0.0.1", collector.server_port)) as process:
            head = f"POST / HTTP/1.0\r\nAuthorization: {collector.password}\r\n\r\n"
            process.sendall(f'{head}{line}\n{{"at": 2, "kind": "rec'.encode())
        assert wait_until(lambda: len(collector.events) == 2, 30)
        assert collector.events[-1].label == "end the server has ended"
        assert wait_until(lambda: not collector.processes, 30)
        with socket.create_connection(("127.0.0.1", collector.server_port)) as process:
            process.sendall(head.encode())
            assert process.makefile().readline() == "1\n"


def test_a_process_without_the_password_is_not_heard():
    """Only the step that the course has started can add events."""
    with Collector(free_port()) as collector:
        assert ask(collector, method="POST")[0] == 403


@pytest.mark.parametrize("earlier", [False, True], ids=["a-new-file", "an-earlier-recording"])
def test_a_recording_is_for_its_owner_only(tmp_path, earlier):
    """Other users of the machine cannot read what people wrote."""
    file = tmp_path / "talk.jsonl"
    if earlier:
        file.touch(0o644)
    with Collector(free_port(), file):
        pass
    assert file.stat().st_mode & 0o077 == 0


def test_a_recording_that_cannot_be_written_is_refused_at_once(tmp_path):
    """A missing folder, or a folder of that name, is told before anything is recorded."""
    (tmp_path / "talk.jsonl").mkdir()
    for file in (tmp_path / "talk.jsonl", tmp_path / "missing" / "talk.jsonl"):
        with (
            pytest.raises(UserError, match="cannot be written"),
            Collector(free_port(), file),
        ):
            pytest.fail("the step must not start")


def test_a_line_of_the_terminal_fits_its_width(monkeypatch):
    """A cut line says that it is cut; a wide letter takes two columns."""
    monkeypatch.setenv("COLUMNS", "60")
    line = terminal_line(receive(text="日本語" * 30))
    assert line.endswith("…")
    assert 57 < sum(2 if letter in "日本語" else 1 for letter in line) <= 60
