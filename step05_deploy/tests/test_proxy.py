"""Behind a proxy: https ends there, static files lie there, and no log has a token."""

import re
import shutil

import pytest
import requests
from django.conf import settings

from .helpers import SIGNED_OUT, close_code
from .server import STEP, Worker
from .test_settings import PRODUCTION, run


class PlainUvicorn(Worker):
    """The step under uvicorn, which logs what it logs by default."""

    def command(self):
        """Return the arguments for Python that start the server."""
        return ["-m", "uvicorn", "--port", str(self.port), "config.asgi:application"]


@pytest.fixture
def start(django_db_setup, tmp_path):
    """Return a function that starts a worker on the tests' database."""
    workers = []

    def start(kind, **environment):
        name = settings.DATABASES["default"]["NAME"]
        worker = kind(
            tmp_path / "log", DATABASE_URL=f"sqlite:///{name}", **environment
        )
        worker.start()
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.stop()


def test_the_proxy_tells_how_the_browser_came(start):
    """Only a request that came over https gets a page. Health checks need no https."""
    worker = start(Worker, **PRODUCTION)

    def ask(path, **headers):
        headers = {"Host": "chat.example", **headers}
        answer = requests.get(
            worker.url + path, headers=headers, allow_redirects=False, timeout=10
        )
        return answer.status_code, answer.headers.get("Location")

    assert ask("/", **{"X-Forwarded-Proto": "https"}) == (302, "/chat/")
    for headers in [{"X-Forwarded-Proto": "http"}, {}]:
        assert ask("/", **headers) == (301, "https://chat.example/")
    # The process manager asks the worker itself, without the proxy.
    assert ask("/healthz") == (200, None)
    assert ask("/readyz") == (200, None)


def test_a_worker_does_not_load_twisted():
    """Twisted is half of the start and a third of the memory; only Daphne needs it."""
    code = "import config.asgi, sys; print('twisted' in sys.modules)"
    worker = run("-c", code, DJANGO_SETTINGS_MODULE="config.settings", **PRODUCTION)
    assert worker.stdout.strip() == "False"
    development = run("-c", code, DJANGO_SETTINGS_MODULE="config.settings")
    assert development.stdout.strip() == "True"


async def test_no_log_has_a_token(start, connect):
    """By default, uvicorn logs the address of each socket, with the token in it."""
    worker = start(PlainUvicorn)
    socket = await connect("/ws/chat/lobby/?token=secret", server=worker)
    assert await close_code(socket) == SIGNED_OUT
    assert "secret" not in worker.log.read_text()


def test_static_files_are_collected_with_a_hash_in_their_names(tmp_path):
    """A browser may keep such a file for ever: a changed file has another name."""
    site = tmp_path / "site"
    for name in ["chat", "config"]:
        shutil.copytree(STEP / name, site / name)
    shutil.copy(STEP / "manage.py", site)
    collected = run(
        "manage.py", "collectstatic", "--noinput", folder=site, **PRODUCTION
    )
    assert collected.returncode == 0, collected.stderr

    code = """
import django; django.setup()
from django.test import Client
page = Client(headers={"Host": "chat.example"}).get("/accounts/login/", secure=True)
print(page.content.decode())
"""
    variables = {**PRODUCTION, "DJANGO_SETTINGS_MODULE": "config.settings"}
    page = run("-c", code, folder=site, **variables).stdout
    asked = re.findall(r'(?:src|href)="/static/([^"]+)"', page)
    assert asked, page
    # A script that imports another one names the file with the hash, too.
    for script in (site / "staticfiles" / "chat").glob("*.*.js"):
        imported = re.findall(r'\bfrom "\./([^"]+)"', script.read_text("utf-8"))
        asked += [f"chat/{name}" for name in imported]
    for name in asked:
        assert re.search(r"\.[0-9a-f]{12}\.[a-z]+$", name), name
        assert (site / "staticfiles" / name).exists(), name
