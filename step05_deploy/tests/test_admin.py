"""Messages in the admin."""

import pytest
from django.contrib.auth import get_user_model

from .helpers import hear, say, session_cookie


@pytest.fixture
def admin(visitor):
    """Return the HTTP client of a superuser."""
    user = get_user_model().objects.create_superuser("root")
    visitor.cookies["sessionid"] = session_cookie(user)
    return visitor


async def test_the_admin_finds_messages(admin, connect):
    """Messages are listed, and can be searched by text and by room."""
    socket = await connect()
    for message in ["the red one", "the blue one"]:
        await say(socket, message)
        await hear(socket)

    found = admin.get("/admin/chat/message/", params={"q": "blue"}).text
    assert "the blue one" in found
    assert "the red one" not in found
    assert (
        "the red one" in admin.get("/admin/chat/message/", params={"q": "lobby"}).text
    )


async def test_the_admin_shows_a_message(admin, connect):
    """The list has the start of each text. A message's own page has all of it, and the time."""
    socket = await connect()
    await say(socket, "w" * 1000)
    message = await hear(socket)

    found = admin.get("/admin/chat/message/").text
    assert "w" * 50 in found
    assert "w" * 51 not in found
    shown = admin.get(f"/admin/chat/message/{message['id']}/change/").text
    assert "w" * 1000 in shown
    assert "Sent at:" in shown


def test_the_admin_does_not_write_messages(admin):
    """No page adds a message: the room would not hear it."""
    assert admin.get("/admin/chat/message/").status_code == 200
    assert admin.get("/admin/chat/message/add/").status_code == 403
