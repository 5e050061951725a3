"""Settings come from the environment, and a service that is not set up does not start."""

import os
import re
import runpy
import socket
import subprocess
import sys
import time
from unittest import mock

import pytest
import redis
from django.conf import global_settings
from django.core.cache import cache

from .server import STEP

SECRET = "only the operator knows this, and it is long: 4Qz8 w0Lm"
PRODUCTION = {
    "DJANGO_DEBUG": "off",
    "DJANGO_SECRET_KEY": SECRET,
    "DJANGO_ALLOWED_HOSTS": "chat.example,www.chat.example",
}


def run(*arguments, **environment):
    """Run Python in the step with these environment variables alone."""
    names = ["PATH", "SYSTEMROOT", "HOME"]
    environment = {
        name: os.environ[name] for name in names if name in os.environ
    } | environment
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=STEP, env=environment, capture_output=True, text=True
    )


def read_settings(**environment):
    """Return the settings with these environment variables alone, Django's own included."""
    with mock.patch.dict(os.environ, environment, clear=True):
        return vars(global_settings) | runpy.run_path(
            str(STEP / "config" / "settings.py")
        )


def test_without_any_variable_it_is_a_development_server():
    """Nothing needs to be set to try the step: SQLite, and one process."""
    settings = read_settings()
    assert settings["DEBUG"] is True
    assert settings["DATABASES"]["default"]["ENGINE"] == "django.db.backends.sqlite3"
    assert settings["REDIS_URLS"] == []
    layer = settings["CHANNEL_LAYERS"]["default"]
    assert layer["BACKEND"] == "channels.layers.InMemoryChannelLayer"
    assert settings["ALLOWED_HOSTS"] == ["127.0.0.1", "localhost", "[::1]"]


def test_each_variable_is_read():
    """What an operator sets is what Django gets."""
    settings = read_settings(
        **PRODUCTION,
        DJANGO_CSRF_TRUSTED_ORIGINS="https://chat.example",
        DATABASE_URL="postgres://chat:secret@db.example:5433/messages",
        REDIS_URL="redis://one:6379,redis://two:6379",
        CHAT_MESSAGE_RATE="2.5",
        CHAT_MESSAGE_BURST="7",
    )
    assert settings["SECRET_KEY"] == SECRET
    assert settings["DEBUG"] is False
    assert settings["ALLOWED_HOSTS"] == ["chat.example", "www.chat.example"]
    assert settings["CSRF_TRUSTED_ORIGINS"] == ["https://chat.example"]
    database = settings["DATABASES"]["default"]
    assert database["ENGINE"] == "django.db.backends.postgresql"
    assert database["HOST"] == "db.example"
    assert database["PORT"] == 5433
    assert database["NAME"] == "messages"
    layer = settings["CHANNEL_LAYERS"]["default"]["CONFIG"]
    hosts = [host["address"] for host in layer["hosts"]]
    assert hosts == ["redis://one:6379", "redis://two:6379"]
    other_site = read_settings(DJANGO_SECRET_KEY="other", REDIS_URL="redis://one:6379")
    assert (
        layer["prefix"] != other_site["CHANNEL_LAYERS"]["default"]["CONFIG"]["prefix"]
    )
    assert (settings["CHAT_MESSAGE_RATE"], settings["CHAT_MESSAGE_BURST"]) == (2.5, 7)


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({**PRODUCTION, "DJANGO_SECRET_KEY": ""}, "DJANGO_SECRET_KEY"),
        ({**PRODUCTION, "DJANGO_ALLOWED_HOSTS": ""}, "DJANGO_ALLOWED_HOSTS"),
        ({"DJANGO_DEBUG": "off"}, "DJANGO_SECRET_KEY"),
        ({"DJANGO_DEBUG": "perhaps"}, "DJANGO_DEBUG"),
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL"),
        ({"CHAT_MESSAGE_RATE": "0"}, "CHAT_MESSAGE_RATE"),
        ({"CHAT_MESSAGE_BURST": "many"}, "CHAT_MESSAGE_BURST"),
    ],
)
def test_what_is_missing_or_wrong_stops_the_start(environment, name):
    """One sentence names the variable, and no service has a known secret."""
    with pytest.raises(SystemExit) as stopped:
        read_settings(**environment)
    sentence = stopped.value.code
    assert sentence.startswith("Cannot start: ")
    assert "\n" not in sentence
    assert name in sentence


@pytest.mark.parametrize(
    "command", [["manage.py", "check"], ["-c", "import config.asgi"]]
)
@pytest.mark.parametrize("wrong", ["off", "perhaps"])
def test_who_cannot_start_says_so_without_a_traceback(command, wrong):
    """A command, or a server: one line, and the exit code 1."""
    finished = run(*command, DJANGO_DEBUG=wrong)
    assert finished.returncode == 1
    assert finished.stderr.startswith("Cannot start: ")
    assert finished.stderr.count("\n") == 1


def test_production_passes_the_checks_for_deployment():
    """Django's own list, warnings included, has nothing to say."""
    finished = run(
        "manage.py", "check", "--deploy", "--fail-level", "WARNING", **PRODUCTION
    )
    assert finished.returncode == 0, finished.stderr
    assert "no issues" in finished.stdout


SECURE = ["SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_SSL_REDIRECT"]


@pytest.mark.parametrize(
    ("https", "http"),
    [
        (PRODUCTION, {}),
        (
            {**PRODUCTION, "DJANGO_CSRF_TRUSTED_ORIGINS": "http://a,https://b"},
            {**PRODUCTION, "DJANGO_CSRF_TRUSTED_ORIGINS": "http://127.0.0.1:8080"},
        ),
    ],
    ids=["production", "an operator who names origins"],
)
def test_cookies_need_https_in_production(https, http):
    """Unless the operator names an origin without it, and no other."""
    for environment, secure in [(https, True), (http, False)]:
        settings = read_settings(**environment)
        assert [settings[name] for name in SECURE] == [secure] * 3


def test_production_logs_errors_with_time_and_level():
    """A view that fails leaves a line; a socket's address, with its token, leaves none."""
    code = """
import logging, uvicorn
uvicorn.Config("config.asgi:application").load()
logging.getLogger("django.request").error("a view failed")
logging.getLogger("chat.store").info("a message is stored")
logging.getLogger("uvicorn.error").info("WebSocket /ws/chat/lobby/?token=secret [accepted]")
logging.getLogger("uvicorn.access").info("GET /chat/lobby/?token=secret")
"""
    finished = run("-c", code, **PRODUCTION)
    time, level = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", "(ERROR|INFO)"
    lines = [
        line
        for line in finished.stderr.splitlines()
        if re.match(f"{time} {level} [a-z.]+: ", line)
    ]
    assert [line.split(": ", 1)[1] for line in lines] == [
        "a view failed",
        "a message is stored",
    ]
    assert "token" not in finished.stdout + finished.stderr


def test_postgresql_connections_are_pooled_and_checked():
    """What the query string of the address asks for is kept."""
    url = "postgres://chat:secret@db.example/messages?sslmode=require"
    database = read_settings(DATABASE_URL=url)["DATABASES"]["default"]
    assert database["CONN_MAX_AGE"] == 0
    assert database["CONN_HEALTH_CHECKS"] is True
    options = database["OPTIONS"]
    assert options["sslmode"] == "require"
    assert options["pool"]["max_size"] * 4 < 100
    assert options["pool"]["timeout"] < 2


def test_sqlite_lets_readers_and_a_writer_work_side_by_side(tmp_path):
    """With a write-ahead log, and a lock from the beginning of each transaction."""
    code = """
import django; django.setup()
from django.db import connection, transaction
with connection.cursor() as cursor:
    for name in ("journal_mode", "synchronous"):
        print(cursor.execute(f"PRAGMA {name}").fetchone()[0])
with transaction.atomic():
    import sqlite3
    try:
        sqlite3.connect(connection.settings_dict["NAME"], timeout=0).execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        print(error)
"""
    file = tmp_path / "db.sqlite3"
    variables = {
        "DATABASE_URL": f"sqlite:///{file}",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    finished = run("-c", code, **variables)
    assert finished.stdout.split("\n")[:3] == ["wal", "1", "database is locked"], (
        finished.stderr
    )


def test_a_frozen_redis_is_an_error_after_two_seconds(settings):
    """Somebody accepts the connection, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        settings.CACHES = read_settings(REDIS_URL=url)["CACHES"]
        began = time.monotonic()
        with pytest.raises(redis.TimeoutError):
            cache.get("x")
    assert 2 < time.monotonic() - began < 4
