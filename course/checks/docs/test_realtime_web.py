"""The page about the real-time web: its project runs, and its claims are true."""

import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread

import pytest
import requests
from playwright.sync_api import expect

from course.book.pages import read
from course.checks.docs.reader import normal, put
from course.checks.warm import start_module
from course.core.ports import answers, free_port
from course.core.processes import clean_environment, stop, wait_until
from course.core.steps import ROOT

PAGE = ROOT / "docs" / "realtime-web.md"
PROJECT = ROOT / "docs" / "examples" / "realtime_web"
KEPT = json.loads((PROJECT / "measured.json").read_text("utf-8"))
ONE_THREAD = ["manage", "runserver", "--noreload", "--noasgi", "--nothreading", "127.0.0.1:{}"]
DAPHNE = ["manage", "runserver", "--noreload", "127.0.0.1:{}"]
RELOADING = ["manage", "runserver", "127.0.0.1:{}"]
UVICORN = ["uvicorn", "config.asgi:application", "--port={}"]
SECONDS = 30  # longer than a start takes on a busy machine
PICTURES = os.environ.get("COURSE_PICTURES")  # a folder
WAYS = {"polling", "long-polling", "server-sent-events", "websocket"}


@contextmanager
def serve(folder, log, program=DAPHNE):
    """Run a copy of the project; yield its address."""
    port = free_port()
    words = [word.format(port) for word in program]
    process = start_module(words, log, folder, clean_environment())
    try:
        wait_until(lambda: process.poll() is not None or answers(port), SECONDS, pause=0.02)
        assert process.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        # A thread that never ends would hold up the end of its server.
        stop(process, grace=1.0)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Run the project for several tests; yield its address."""
    with serve(PROJECT, tmp_path_factory.mktemp("web") / "server.log") as address:
        yield address


def play(address):
    """Let ten events happen; return their ids, when all have happened."""
    after = requests.get(f"{address}/poll/0/", timeout=SECONDS).json()["events"]
    assert requests.post(f"{address}/start/", timeout=SECONDS).status_code == 204
    url = f"{address}/poll/{len(after)}/"

    def new():
        return requests.get(url, timeout=SECONDS).json()["events"]

    assert wait_until(lambda: len(new()) == 10, SECONDS)
    return [event["id"] for event in new()]


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """Measure as the page says; return the two tables as dictionaries, by way and by worker."""
    file = tmp_path_factory.mktemp("measured") / "measured.json"
    command = [sys.executable, str(PROJECT / "measure.py"), str(file)]
    subprocess.run(command, check=True, capture_output=True, env=clean_environment())
    return {key: tabled(rows) for key, rows in json.loads(file.read_text("utf-8")).items()}


def tabled(rows):
    """Return the rows of a table by what names them: the cells in front that are texts."""
    found = {}
    for row in rows[1:]:
        texts = [cell for cell in row if isinstance(cell, str)]
        found[", ".join(texts)] = row[len(texts) :]
    return found


def test_each_way_delivers_the_ten_events_as_the_table_says(taken):
    """Each way delivers all, with as many requests, and a similar number of bytes, as kept."""
    ways, kept = taken["ways"], tabled(KEPT["ways"])
    assert list(ways) == list(kept)
    for way, (events, number, size, _) in ways.items():
        assert events == 10
        # A busy machine polls less often; then two events can come with one answer.
        assert (number == kept[way][1]) if kept[way][1] == 1 else (1 < number <= 10), way
        assert kept[way][2] / 2 < size < kept[way][2] * 2, way
    delays = {way: row[3] for way, row in ways.items()}
    assert max(delays, key=delays.get) == "polling"
    assert kept["long polling"][1] == 10


def test_what_a_worker_does_while_it_waits(taken):
    """How many requests wait together, in how many threads, is what the table says."""
    workers, kept = taken["workers"], tabled(KEPT["workers"])
    assert {name: row[:2] for name, row in workers.items()} == {
        name: row[:2] for name, row in kept.items()
    }
    assert workers["WSGI, one thread, async"][:2] == [1, 1]
    assert workers["ASGI, Daphne, async"][:2] == [3, 1]


def test_the_page_shows_the_events_in_each_way(address, browser):
    """In a browser: ten events in each row; one request, ten, or one a second."""
    page = browser.new_page()
    seen, sockets, sizes = [], [], []
    page.on("websocket", lambda socket: sockets.append(socket))

    def note(request):
        seen.append(request.url.removeprefix(address).split("/")[1])
        if seen[-1] == "poll":
            sizes.append(sum(len(f"{key}{value}") for key, value in request.all_headers().items()))

    page.on("requestfinished", note)
    page.on("request", lambda request: "/stream/" in request.url and seen.append("stream"))
    page.goto(address)
    page.get_by_role("button", name="Start").click()
    for way in WAYS:
        expect(page.locator(f"#{way} span")).to_have_count(10, timeout=SECONDS * 1000)
        ids = [text.split(":")[0] for text in page.locator(f"#{way} span").all_inner_texts()]
        first = int(ids[0])
        assert ids == [str(number) for number in range(first, first + 10)]
    for scheme in ("light", "dark") if PICTURES else ():
        page.set_viewport_size({"width": 860, "height": 480})
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=Path(PICTURES) / f"realtime_web-conversation-{scheme}.png")
    page.close()
    assert len(sockets) == 1
    assert seen.count("stream") == 1
    assert 2 <= seen.count("long-poll") <= 10
    assert seen.count("poll") > 1
    plain = requests.get(address, timeout=SECONDS).request.headers
    assert min(sizes) > 2 * sum(len(f"{key}{value}") for key, value in plain.items())


def test_a_seventh_stream_waits_for_a_connection(address, browser):
    """A browser opens six connections to a host with HTTP/1.1 in all tabs, not counting sockets."""
    opened = "const opened = (source) => new Promise((resolve) => source.onopen = resolve);"
    with browser.new_context() as context:
        first, second = context.new_page(), context.new_page()
        for page in (first, second):
            page.goto(f"{address}/poll/0/")
        first.evaluate(
            f"""async () => {{
                {opened}
                window.sources = Array.from({{ length: 6 }}, () => new EventSource("/stream/0/"));
                await Promise.all(sources.map(opened));
            }}"""
        )
        state = second.evaluate(
            f"""async (address) => {{
                {opened}
                window.isDone = false;
                window.seventh = fetch("/poll/0/").then(() => isDone = true);
                const socket = new WebSocket(`${{address.replace("http", "ws")}}/ws/events/`);
                await opened(socket);
                await new Promise((resolve) => setTimeout(resolve, 500));
                return [isDone, socket.readyState];
            }}""",
            address,
        )
        assert state == [False, 1]
        first.evaluate("() => sources.pop().close()")
        assert second.evaluate("() => seventh")


def test_a_client_that_comes_back_gets_what_it_missed(address):
    """A server-sent event has an id. A client names the last one, and the server goes on."""
    ids = play(address)
    headers = {"Last-Event-ID": str(ids[-3])}
    url = f"{address}/stream/0/"
    with requests.get(url, headers=headers, stream=True, timeout=SECONDS) as response:
        lines = (line for line in response.iter_lines(chunk_size=1) if line.startswith(b"id:"))
        assert [next(lines), next(lines)] == [b"id: %d" % number for number in ids[-2:]]


def wrong_copy(tmp_path, scene):
    """Return a copy of the project with the wrong version that the page shows for a scene."""
    folder = tmp_path / "copy"
    shutil.copytree(PROJECT, folder)
    (wrong,) = [p for p in read(PAGE) if p.mark == "wrong" and p.note.split()[0] == scene]
    _, path, symbol = wrong.note.split()
    put(folder / path, symbol, wrong.content)
    return folder


def seen_lines(scene):
    """Return the lines that a person sees in a scene, as the page says."""
    (seen,) = [part for part in read(PAGE) if part.mark == "seen" and part.note == scene]
    return normal(seen.content).splitlines()


def ask(address, path):
    """Send a request; return the socket on which its answer comes."""
    host, port = address.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), timeout=SECONDS)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return client


@pytest.mark.parametrize(("program", "first"), [(ONE_THREAD, "long poll"), (DAPHNE, "poll")])
def test_a_long_poll_occupies_a_synchronous_worker(tmp_path, program, first):
    """The next request waits behind a long poll that waits. Under ASGI, it does not wait."""
    folder = tmp_path / "copy"
    shutil.copytree(PROJECT, folder)
    events = folder / "live" / "events.py"
    text = events.read_text("utf-8")
    assert "PATIENCE = 25 " in text
    events.write_text(text.replace("PATIENCE = 25 ", "PATIENCE = 3 "), "utf-8")
    with (
        serve(folder, tmp_path / "server.log", program) as address,
        ask(address, "/long-poll/0/") as slow,
        ask(address, "/poll/0/") as quick,
    ):
        answered, _, _ = select.select([slow, quick], [], [], SECONDS)
        assert answered[0] is (slow if first == "long poll" else quick)
        assert slow.recv(65536).startswith(b"HTTP/1.1 200")
        assert quick.recv(65536).startswith(b"HTTP/1.1 200")


class Broken(BaseHTTPRequestHandler):
    """A stream that ends after one event, and a page to open it from."""

    last_ids: Queue = Queue()  # of the events that the browser names

    def do_GET(self):
        """Answer with one event, and note the header `Last-Event-ID`."""
        is_stream = self.path == "/stream/"
        if is_stream:
            self.last_ids.put(self.headers.get("Last-Event-ID"))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if is_stream else "text/html")
        self.end_headers()
        self.wfile.write(b"retry: 10\nid: 7\ndata: {}\n\n")

    def log_message(self, *_):
        """Log nothing."""


def test_the_browser_names_the_last_event(browser):
    """When a stream breaks, EventSource connects again, and sends the id of the last event."""
    with ThreadingHTTPServer(("127.0.0.1", free_port()), Broken) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.evaluate("void new EventSource('/stream/')")
        assert [Broken.last_ids.get(timeout=SECONDS) for _ in range(2)] == [None, "7"]
        page.close()
        server.shutdown()


@pytest.mark.parametrize(("program", "is_shown"), [(UVICORN, True), (DAPHNE, False)])
def test_a_synchronous_generator_sends_nothing(tmp_path, program, is_shown):
    """The obvious stream: ten events happen, and none arrives. Only uvicorn shows the warning."""
    folder, log = wrong_copy(tmp_path, "sync-stream"), tmp_path / "server.log"
    with serve(folder, log, program) as address, ask(address, "/stream/0/") as client:
        play(address)
        arrived = b""
        while select.select([client], [], [], 0)[0]:
            arrived += client.recv(65536)
        assert b"data:" not in arrived
        # Daphne sends the headers with the first piece of the body.
        assert arrived.startswith(b"HTTP/1.1 200") == (program is UVICORN)
    said = normal(log.read_text())
    for line in seen_lines("sync-stream"):
        assert (line in said) == is_shown, said


def test_a_generator_without_an_end_holds_up_the_reload(tmp_path):
    """After a change, the old server waits for the generator's thread, and answers with errors."""
    folder = wrong_copy(tmp_path, "sync-stream")
    with (
        serve(folder, tmp_path / "server.log", RELOADING) as address,
        ask(address, "/stream/0/"),
    ):
        play(address)  # meanwhile the generator has begun
        (folder / "live" / "views.py").touch()
        url = f"{address}/"
        assert wait_until(lambda: requests.get(url, timeout=SECONDS).status_code == 500, SECONDS)


def test_an_async_view_that_blocks_stops_all_others(tmp_path):
    """With `time.sleep` in a coroutine, requests that come at once wait one after the other."""
    with (
        serve(wrong_copy(tmp_path, "blocking"), tmp_path / "server.log") as address,
        ThreadPoolExecutor(3) as pool,
    ):
        said = [answer.text for answer in pool.map(requests.get, [f"{address}/slow/"] * 3)]
    assert said == seen_lines("blocking") * 3


def test_the_commands_of_the_page(tmp_path):
    """Each command of the page works in the course's folder, and says what the page says."""
    blocks = [part.content for part in read(PAGE) if part.language == "console"]
    assert blocks
    for block in blocks:
        for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            done = subprocess.run(
                command,
                shell=True,
                cwd=ROOT,
                env=clean_environment(),
                capture_output=True,
                text=True,
            )
            assert normal(done.stdout + done.stderr) == normal(output), command
