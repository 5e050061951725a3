"""Settings come from the environment, and an incomplete one stops the start."""

import os
import re
import runpy
import subprocess
import sys
from unittest import mock

import pytest
from django.conf import global_settings

from .server import STEP

SECRET = "only the operator knows this, and it is long: 4Qz8 w0Lm"
PRODUCTION = {
    "DJANGO_DEBUG": "off",
    "DJANGO_SECRET_KEY": SECRET,
    "DJANGO_ALLOWED_HOSTS": "chat.example,www.chat.example",
}


def run(*arguments, folder=STEP, **environment):
    """Run Python in the step with these environment variables alone."""
    names = ["PATH", "SYSTEMROOT", "HOME"]
    environment |= {name: os.environ[name] for name in names if name in os.environ}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True
    )


def read_settings(**environment):
    """Return the settings with these environment variables alone, and Django's own."""
    with mock.patch.dict(os.environ, environment, clear=True):
        ours = runpy.run_path(str(STEP / "config" / "settings.py"))
    return vars(global_settings) | ours


def test_each_variable_is_read():
    """The environment decides. Without any variable, it is a development server."""
    settings = read_settings()
    assert settings["DEBUG"] is True
    assert settings["ALLOWED_HOSTS"] == ["127.0.0.1", "localhost", "[::1]"]
    settings = read_settings(
        **PRODUCTION, DJANGO_CSRF_TRUSTED_ORIGINS="https://chat.example"
    )
    assert settings["DEBUG"] is False
    assert settings["SECRET_KEY"] == SECRET
    assert settings["ALLOWED_HOSTS"] == ["chat.example", "www.chat.example"]
    assert settings["CSRF_TRUSTED_ORIGINS"] == ["https://chat.example"]


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({**PRODUCTION, "DJANGO_SECRET_KEY": ""}, "DJANGO_SECRET_KEY"),
        ({**PRODUCTION, "DJANGO_ALLOWED_HOSTS": ""}, "DJANGO_ALLOWED_HOSTS"),
        ({"DJANGO_DEBUG": "off"}, "DJANGO_SECRET_KEY"),
        ({"DJANGO_DEBUG": "perhaps"}, "DJANGO_DEBUG"),
    ],
)
def test_a_missing_or_wrong_variable_stops_the_start(environment, name):
    """One sentence names the variable. No site runs with a secret that all know."""
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
def test_a_process_that_cannot_start_prints_no_traceback(command, wrong):
    """A command or a server prints one line, and ends with exit code 1."""
    finished = run(*command, DJANGO_DEBUG=wrong)
    assert finished.returncode == 1
    assert finished.stderr.startswith("Cannot start: ")
    assert finished.stderr.count("\n") == 1


def test_production_passes_the_checks_for_deployment():
    """Django's own list for deployment finds nothing, warnings included."""
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
    """Cookies travel over https only, unless all trusted origins begin with http:."""
    for environment, secure in [(https, True), (http, False)]:
        settings = read_settings(**environment)
        assert [settings[name] for name in SECURE] == [secure] * 3


def test_production_logs_errors_with_time_and_level():
    """A failure leaves a line in the log, with the time. A client that joins does not."""
    code = """
import django, logging; django.setup()
logging.getLogger("django.request").error("a view failed")
logging.getLogger("chat.consumers").info("connect")
logging.getLogger("chat.consumers").warning("not sent")
"""
    variables = {**PRODUCTION, "DJANGO_SETTINGS_MODULE": "config.settings"}
    lines = run("-c", code, **variables).stderr.splitlines()
    time, level = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", "(ERROR|WARNING)"
    assert all(re.match(f"{time} {level} [a-z.]+: ", line) for line in lines)
    assert [line.split(": ", 1)[1] for line in lines] == ["a view failed", "not sent"]


def test_a_page_may_run_our_own_files_only(visitor):
    """If an attacker gets a script into a page, the browser does not run it."""
    page = visitor.get("/chat/lobby/")
    assert page.status_code == 200
    policy = page.headers.get("Content-Security-Policy", "no policy")
    assert "default-src 'self'" in policy.split("; ")
    assert "unsafe" not in policy
    # Our own page keeps to it: a script that stands in the page is data.
    for attributes in re.findall("<script([^>]*)>", page.text):
        assert " src=" in attributes or 'type="application/json"' in attributes
    assert not re.search(r"<style|\s(style|on[a-z]+)=", page.text)
