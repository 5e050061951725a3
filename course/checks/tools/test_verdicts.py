"""The reasons for which a new test may fail without its part."""

import pytest

from course.learn.results import Test
from course.maintain.verdicts import red_complaint

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
    "SyntaxError: invalid syntax",
    'failed on setup with "TimeoutError"',
    'failed on teardown with "AssertionError: the socket is open"',
    "django.core.exceptions.ImproperlyConfigured: no settings",
    "django.db.utils.OperationalError: database is locked",
    "ValueError: not enough values to unpack",
    "",
]


@pytest.mark.parametrize("message", [*RIGHT_REASONS, *OTHER_REASONS])
def test_reasons_to_fail(message: str) -> None:
    """The right reasons include these messages, which come from real steps without the concept.

    An unknown reason is reported, so that a person looks at the test.
    """
    failed = Test("tests/test_x.py::test_y", "failed", 1.0, message)
    assert bool(red_complaint(failed, "step01_echo")) is (message in OTHER_REASONS)
