"""Settings come from the environment, and a service that is not set up does not start."""

import json
import os
import subprocess
import sys

import pytest

from .server import STEP

PRODUCTION = {
    "DJANGO_DEBUG": "off",
    "DJANGO_SECRET_KEY": "only the operator knows this",
    "DJANGO_ALLOWED_HOSTS": "chat.example,www.chat.example",
}


def run(*arguments, **environment):
    """Run Python in the step with these environment variables alone."""
    names = ["PATH", "SYSTEMROOT", "HOME"]
    environment = {name: os.environ[name] for name in names if name in os.environ} | environment
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=STEP, env=environment, capture_output=True, text=True)


def read_settings(*names, **environment):
    """Return the settings of these names, with these environment variables."""
    code = "import json; from config import settings; print(json.dumps([{}]))"
    code = code.format(", ".join(f"settings.{name}" for name in names))
    finished = run("-c", code, **environment)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_without_any_variable_it_is_a_development_server():
    """Nothing needs to be set to try the step: SQLite, and one process."""
    debug, database, redis, layers, hosts = read_settings(
        "DEBUG",
        "DATABASES['default']['ENGINE']",
        "REDIS_URLS",
        "CHANNEL_LAYERS",
        "ALLOWED_HOSTS",
    )
    assert debug is True
    assert database == "django.db.backends.sqlite3"
    assert redis == []
    assert layers["default"]["BACKEND"] == "channels.layers.InMemoryChannelLayer"
    assert hosts == ["127.0.0.1", "localhost", "[::1]"]


def test_each_variable_is_read():
    """What an operator sets is what Django gets."""
    environment = {
        **PRODUCTION,
        "DJANGO_CSRF_TRUSTED_ORIGINS": "https://chat.example",
        "DATABASE_URL": "postgres://chat:secret@db.example:5433/messages",
        "REDIS_URL": "redis://one:6379,redis://two:6379",
    }
    secret, debug, hosts, origins, database, layers = read_settings(
        "SECRET_KEY",
        "DEBUG",
        "ALLOWED_HOSTS",
        "CSRF_TRUSTED_ORIGINS",
        "DATABASES['default']",
        "CHANNEL_LAYERS",
        **environment,
    )
    assert secret == "only the operator knows this"
    assert debug is False
    assert hosts == ["chat.example", "www.chat.example"]
    assert origins == ["https://chat.example"]
    assert database["ENGINE"] == "django.db.backends.postgresql"
    assert database["HOST"] == "db.example"
    assert database["PORT"] == 5433
    assert database["NAME"] == "messages"
    hosts = [host["address"] for host in layers["default"]["CONFIG"]["hosts"]]
    assert hosts == ["redis://one:6379", "redis://two:6379"]


@pytest.mark.parametrize("command", [["manage.py", "check"], ["-c", "import config.asgi"]])
@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({**PRODUCTION, "DJANGO_SECRET_KEY": ""}, "DJANGO_SECRET_KEY"),
        ({**PRODUCTION, "DJANGO_ALLOWED_HOSTS": ""}, "DJANGO_ALLOWED_HOSTS"),
        ({"DJANGO_DEBUG": "off"}, "DJANGO_SECRET_KEY"),
        ({"DJANGO_DEBUG": "perhaps"}, "DJANGO_DEBUG"),
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL"),
    ],
)
def test_what_is_missing_or_wrong_stops_the_start(command, environment, name):
    """One sentence names the variable: no traceback, and no service with a known secret."""
    finished = run(*command, **environment)
    assert finished.returncode == 1
    assert finished.stderr.startswith("Cannot start: ")
    assert finished.stderr.count("\n") == 1
    assert name in finished.stderr
