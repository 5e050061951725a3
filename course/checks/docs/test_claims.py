"""Claims of the chapters about `runserver` and browsers, which no scene of a chapter shows."""

import shutil
import sys
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread

import pytest
from django.conf import global_settings
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from course.core.ports import answers, free_port
from course.core.processes import clean_environment, start_job, stop, wait_until
from course.core.steps import copy_files, find_step, step_files

SECONDS = 40  # longer than anything takes on a busy machine
LOOKS = 3  # seconds in which `runserver` looks at its files twice
# Our host, and the host of the page that opens our socket.
ORIGINS = [
    ("chat.example", "chat.example"),
    ("chat.example", "evil.chat.example"),
    ("chat.example", "evil.example"),
    ("127.0.0.1", "127.0.0.1"),  # only here, a browser takes a `Secure` cookie without https
    ("127.0.0.1", "evil.example"),
]


def test_runserver_looks_at_the_files_that_it_has_loaded(tmp_path):
    """After an error it waits for a change; a new file is none; a change closes all sockets."""
    step, port = find_step("1").folder, free_port()
    copy_files(step_files(step), step, tmp_path)
    asgi = (tmp_path / "config" / "asgi.py").rename(tmp_path / "asgi.py")
    log, env = tmp_path / "server.log", clean_environment()
    command = [sys.executable, "manage.py", "runserver", str(port)]
    process = start_job(command, log, tmp_path, env)

    def errors():
        return log.read_text("utf-8").count("Cannot import ASGI_APPLICATION module")

    try:
        assert wait_until(errors, SECONDS), log.read_text("utf-8")
        before = errors()
        shutil.copy(asgi, tmp_path / "config" / "asgi.py")
        time.sleep(LOOKS)
        assert (errors(), process.poll(), answers(port)) == (before, None, False)
        (tmp_path / "config" / "settings.py").touch()
        assert wait_until(lambda: answers(port), SECONDS), log.read_text("utf-8")
        url, origin = f"ws://127.0.0.1:{port}/ws/echo/", f"http://127.0.0.1:{port}"
        with connect(url, origin=origin, open_timeout=SECONDS) as socket:
            (tmp_path / "chat" / "models.py").touch()  # a new file, which nothing imports yet
            time.sleep(LOOKS)
            socket.send('{"message": "hi"}')
            assert "Echo: hi" in socket.recv(SECONDS)
            (tmp_path / "chat" / "consumers.py").touch()
            with pytest.raises(ConnectionClosed):
                socket.recv(SECONDS)
        assert wait_until(lambda: answers(port), SECONDS), log.read_text("utf-8")
    finally:
        stop(process)


class Cookies(BaseHTTPRequestHandler):
    """A site with cookies of two kinds. It notes which of them come with a handshake."""

    noted: Queue = Queue()

    def do_GET(self):
        """Answer a page with cookies, and refuse a socket."""
        if self.headers.get("Upgrade"):
            sent = self.headers.get("Cookie", "")
            self.noted.put((self.headers["Origin"], sorted(sent.split("; ")) if sent else []))
            self.send_error(403)
            return
        self.send_response(200)
        self.send_header("Set-Cookie", "lax=1; SameSite=Lax")  # as Django's session
        self.send_header("Set-Cookie", "none=1; SameSite=None; Secure")
        self.end_headers()

    def log_message(self, *_):
        """Log nothing."""


def test_which_cookies_come_with_a_handshake(browser):
    """A browser sends a cookie such as Django's session from all of our site, and no other site.

    All subdomains are the same site. A cookie with `SameSite=None` comes from every site.
    """
    seen = []
    with ThreadingHTTPServer(("127.0.0.1", free_port()), Cookies) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_port
        with closing(browser.new_context()) as context:
            page = context.new_page()
            for ours, theirs in ORIGINS:
                page.goto(f"http://{ours}:{port}/")
                page.goto(f"http://{theirs}:{port}/")
                page.evaluate(f"void new WebSocket('ws://{ours}:{port}/ws/')")
                origin, cookies = Cookies.noted.get(timeout=SECONDS)
                assert origin == f"http://{theirs}:{port}"
                seen.append((theirs, cookies))
        server.shutdown()
    assert seen == [
        ("chat.example", ["lax=1"]),
        ("evil.chat.example", ["lax=1"]),
        ("evil.example", []),
        ("127.0.0.1", ["lax=1", "none=1"]),
        ("evil.example", ["none=1"]),
    ]
    assert global_settings.SESSION_COOKIE_SAMESITE == "Lax"
