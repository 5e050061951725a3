"""The reasons for which a new test may fail without its part."""

from pathlib import Path

import pytest

from course.checks.tools.conftest import add_step
from course.core.manifest import Midpoint
from course.core.steps import Step
from course.learn.results import Test
from course.maintain.verdicts import Pair, red_complaint

RIGHT_REASONS = [
    "assert 404 == 200\n +  where 404 = <Response [404]>.status_code",
    "AssertionError: no page at /accounts/signup/",
    'failed on setup with "AssertionError: no page at /accounts/signup/"',
    "websockets.exceptions.InvalidStatus: server rejected WebSocket connection: HTTP 500",
    "websockets.exceptions.ConnectionClosedError: received 1011 (internal error)",
    "ConnectionRefusedError: [Errno 111] Connect call failed ('127.0.0.1', 1)",
    "requests.exceptions.ConnectionError: HTTPConnectionPool: … Connection refused",
    "ValueError: No route found for path 'ws/chat/lobby/'.",
    "sqlite3.OperationalError: no such table: main.chat_message",
    "django.db.utils.OperationalError: no such table: chat_message",
    "requests.exceptions.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
    "TypeError: 'NoneType' object is not subscriptable",
    "AttributeError: 'NoneType' object has no attribute 'group'",
    "KeyError: 'id'",
    "ModuleNotFoundError: No module named 'chat.limits'",
    "collection failure: ImportError: cannot import name 'LIMIT' from 'chat.store' (/x.py)",
    "TimeoutError",
]
OTHER_REASONS = [
    "RuntimeError: ModuleNotFoundError: No module named 'chat.rooms'",
    "django.core.exceptions.ImproperlyConfigured: no settings",
    "django.db.utils.OperationalError: database is locked",
    "ValueError: not enough values to unpack",
    "SyntaxError: invalid syntax",
    "",
]


ECHO, GROUPS = Step(1, "echo", Path("step01_echo")), Step(2, "groups", Path("step02_groups"))
BEFORE = {"chat/__init__.py": "", "chat/store.py": "def keep(): ...\nfrom os import path\n"}
AFTER = {
    "chat/__init__.py": "",
    "chat/store.py": "def keep(): ...\nfrom os import sep\nLIMIT: int = 1\nclass Store: ... # no\n",
    "chat/limits.py": "",
    "deploy/tools/check.py": "",
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A pair of mid-points; the later one adds modules, and names in a module."""
    found = []
    for step, number, sources in ((ECHO, 0, BEFORE), (GROUPS, 1, AFTER)):
        folder = add_step(tmp_path_factory.mktemp("pair"), step.label, sources)
        found.append(Midpoint(step, number, "", {path: folder / path for path in sources}))
    return Pair(found[0], found[1], True, {})


@pytest.mark.parametrize("message", [*RIGHT_REASONS, *OTHER_REASONS])
def test_reasons_to_fail(pair: Pair, message: str) -> None:
    """The right reasons include these messages, which come from real steps without the concept.

    An unknown reason is reported, so that a person looks at the test.
    """
    failed = Test("tests/test_x.py::test_y", "failed", 1.0, message)
    assert bool(red_complaint(failed, pair)) is (message in OTHER_REASONS)


@pytest.mark.parametrize("said", ["{}", "collection failure: {}", 'failed on setup with "{}"'])
@pytest.mark.parametrize(
    "message",
    [
        "ModuleNotFoundError: No module named 'chat.limits'",
        "ModuleNotFoundError: No module named 'deploy'",
        "ModuleNotFoundError: No module named 'deploy.tools'",
        "ImportError: cannot import name 'limits' from 'chat' (/x/chat/__init__.py)",
        "ImportError: cannot import name 'LIMIT' from 'chat.store' (/x/chat/store.py)",
        "ImportError: cannot import name 'Store' from 'chat.store' (/x/chat/store.py)",
        "ImportError: cannot import name 'sep' from 'chat.store' (/x/chat/store.py)",
    ],
)
def test_an_import_may_wait_for_what_the_part_brings(pair: Pair, message: str, said: str) -> None:
    """The part may add the module, or the name in a module."""
    failed = Test("tests/test_x.py::test_y", "failed", 0.1, said.format(message))
    assert red_complaint(failed, pair) == ""


@pytest.mark.parametrize(
    "message",
    [
        "ModuleNotFoundError: No module named 'chat.limit'",
        "ModuleNotFoundError: No module named 'chat.store'",
        "ModuleNotFoundError: No module named 'limits'",
        "ModuleNotFoundError: No module named 'dep'",
        "ImportError: cannot import name 'limit' from 'chat' (/x/chat/__init__.py)",
        "ImportError: cannot import name 'keep' from 'chat.store' (/x/chat/store.py)",
        "ImportError: cannot import name 'path' from 'chat.store' (/x/chat/store.py)",
        "ImportError: cannot import name 'Stroe' from 'chat.store' (/x/chat/store.py)",
        "ImportError: cannot import name 'no' from 'chat.store' (/x/chat/store.py)",
        "ImportError: cannot import name 'int' from 'chat.store' (/x/chat/store.py)",
        "ImportError: cannot import name 'Store' from 'chat.stroe' (/x/chat/stroe.py)",
        "ImportError: cannot import name 'Store' from partially initialized module 'chat.store'",
        "RuntimeError: ModuleNotFoundError: No module named 'chat.limits'",
        "assert 'ModuleNotFoundError: No module named 'chat.limits'' == ''",
    ],
)
def test_a_misspelt_import_is_no_reason(pair: Pair, message: str) -> None:
    """Other errors in an import, and texts about an import, are no reason either."""
    failed = Test("tests/test_x.py::test_y", "failed", 0.1, message)
    assert "because an import fails: " in red_complaint(failed, pair)
