"""Paths that do not exist, and cookies that no session has."""

from importlib import import_module

import pytest
from django.conf import settings
from django.http import parse_cookie
from websockets.exceptions import InvalidStatus

from .helpers import SIGNED_OUT, hear, refusal, say, socket_path


@pytest.mark.parametrize("path", ["/ws/nothing/", f"/ws/chat/{'x' * 51}/", "/"])
async def test_an_unknown_path_is_refused_in_silence(server, connect, path):
    """Whoever knocks at doors that do not exist fills no log with tracebacks."""
    before = len(server.log.read_text())
    with pytest.raises(InvalidStatus) as refused:
        await connect(path)
    assert refused.value.response.status_code == 403
    assert "Traceback" not in server.log.read_text()[before:]


@pytest.mark.parametrize(
    "key", [r'"\000aaaaaaaaaa"', "x", ""], ids=["NUL", "short", "empty"]
)
async def test_a_cookie_that_no_session_can_have_is_a_strangers(connect, visitor, key):
    """It is not even looked for: PostgreSQL refuses some, and that would be an error of ours."""
    assert settings.SESSION_ENGINE == "chat.sessions"
    assert await refusal(await connect(session=key)) == SIGNED_OUT
    page = visitor.get("/chat/", headers={"Cookie": f"sessionid={key}"})
    assert page.url.endswith("/accounts/login/?next=/chat/")
    store = import_module("chat.sessions").SessionStore(parse_cookie(f"s={key}")["s"])
    assert store.session_key is None


async def test_a_page_of_somebody_else_is_a_strangers(connect):
    """Ann's page comes back, and Ben has signed in meanwhile: it must not speak as Ben."""
    socket = await connect(socket_path("lobby") + "?as=ann")
    await say(socket, "hi")
    assert (await hear(socket))["username"] == "ann"
    assert await refusal(await connect(socket_path("lobby") + "?as=ben")) == SIGNED_OUT
