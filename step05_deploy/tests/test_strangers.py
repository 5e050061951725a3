"""Strangers are refused with close code 4001, and a session makes a user."""

import pytest
from websockets.exceptions import InvalidStatus

from .helpers import SIGNED_OUT, hear, hear_inside, refusal, say


@pytest.mark.parametrize("session", [None, "nonsense"])
async def test_a_stranger_is_told_the_reason(connect, session):
    """Without a session the socket is closed with 4001: a page can tell the person."""
    assert await refusal(await connect(session=session)) == SIGNED_OUT


async def test_an_inactive_user_is_a_stranger(connect, ann):
    """A user who was made inactive is refused, although the session exists."""
    ann.is_active = False
    await ann.asave()
    assert await refusal(await connect()) == SIGNED_OUT


@pytest.mark.parametrize("origin", ["https://evil.example", None])
async def test_a_cookie_is_trusted_from_our_own_pages_only(connect, origin):
    """A page of another site, or a client without Origin, cannot use a good session."""
    socket = await connect()
    await say(socket, "ours")
    assert (await hear(socket))["username"] == "ann"
    with pytest.raises(InvalidStatus):
        await connect(origin=origin)


@pytest.fixture(params=["cache", "cached_db", "signed_cookies"])
def session_engine(request, settings):
    """Keep sessions in another place than the database."""
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{request.param}"


async def test_sessions_may_live_elsewhere(session_engine, join):
    """The server asks the session engine, not the table, so any engine works."""
    socket = await join()
    await socket.send_json_to({"message": "hi"})
    assert (await hear_inside(socket))["username"] == "ann"
    await socket.disconnect()
