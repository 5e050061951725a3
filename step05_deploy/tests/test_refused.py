"""Paths that do not exist, and cookies that no session has."""

from importlib import import_module

import pytest
from django.conf import settings
from django.http import parse_cookie
from websockets.exceptions import InvalidStatus

from .helpers import SIGNED_OUT, refusal


@pytest.mark.parametrize("path", ["/ws/nothing/", f"/ws/chat/{'x' * 51}/", "/"])
async def test_an_unknown_path_is_refused_in_silence(server, connect, path):
    """Whoever knocks at doors that do not exist fills no log with tracebacks."""
    before = len(server.log.read_text())
    with pytest.raises(InvalidStatus) as refused:
        await connect(path)
    assert refused.value.response.status_code == 403
    assert "Traceback" not in server.log.read_text()[before:]


@pytest.mark.parametrize("key", [r'"\000aaaaaaaaaa"', "x", ""], ids=["NUL", "short", "empty"])
async def test_a_cookie_that_no_session_can_have_is_a_strangers(connect, visitor, key):
    """It is not even looked for: PostgreSQL refuses some, and that would be an error of ours."""
    assert settings.SESSION_ENGINE == "chat.sessions"
    assert await refusal(await connect(session=key)) == SIGNED_OUT
    page = visitor.get("/chat/", headers={"Cookie": f"sessionid={key}"})
    assert page.url.endswith("/accounts/login/?next=/chat/")
    store = import_module("chat.sessions").SessionStore(parse_cookie(f"s={key}")["s"])
    assert store.session_key is None
