"""Close code 4001: strangers, and users who have signed out meanwhile."""

import pytest
from channels.layers import get_channel_layer
from django.apps import apps
from django.contrib.sessions.models import Session
from websockets.exceptions import InvalidStatus

from .helpers import (
    SIGNED_OUT,
    close_code,
    hear,
    refusal,
    say,
    session_cookie,
    socket_path,
    submit,
)


@pytest.mark.parametrize("session", [None, "nonsense"])
async def test_a_stranger_is_told_the_reason(connect, session):
    """Without a session the socket opens, and is closed with 4001: a page can act on it."""
    assert await refusal(await connect(session=session)) == SIGNED_OUT


async def test_an_inactive_user_is_a_stranger(connect, ann):
    """Who has been switched off is refused, session or not."""
    ann.is_active = False
    await ann.asave()
    assert await refusal(await connect()) == SIGNED_OUT


@pytest.mark.parametrize("origin", ["https://evil.example", None])
async def test_a_cookie_is_trusted_from_our_own_pages_only(connect, origin):
    """From another site's page, or from nowhere, a good session does not open a socket."""
    socket = await connect()
    await say(socket, "ours")
    assert (await hear(socket)).get("username") == "ann"
    with pytest.raises(InvalidStatus):
        await connect(origin=origin)


async def test_a_query_may_have_any_number_of_fields(connect):
    """Ours are read, and others are nobody's business: they are no reason to fail."""
    fields = "&".join(f"field{number}=1" for number in range(1100))
    socket = await connect(f"{socket_path('lobby')}?{fields}")
    await say(socket, "hi")
    assert (await hear(socket)).get("username") == "ann"


async def test_signing_out_closes_all_sockets_of_the_user(visitor, connect, bens_session):
    """In every room and every tab, at once; nobody else notices."""
    anns = [await connect(), await connect(), await connect(socket_path("日本語"))]
    bens = await connect(session=bens_session)

    submit(visitor, "/chat/", to="/accounts/logout/")

    assert [await close_code(socket) for socket in anns] == [SIGNED_OUT] * 3
    assert await refusal(await connect()) == SIGNED_OUT
    await say(bens, "still here")
    assert (await hear(bens))["message"] == "still here"


async def test_signing_out_closes_sockets_with_a_token_too(visitor, connect):
    """It does not matter how the user got in."""
    token = submit(visitor, "/chat/", to="/api/token/").json()["token"]
    socket = await connect(f"/ws/chat/lobby/?token={token}", session=None, origin=None)
    submit(visitor, "/chat/", to="/accounts/logout/")
    assert await close_code(socket) == SIGNED_OUT


@pytest.fixture
def admin(stranger, django_user_model):
    """Return the HTTP client of somebody who may do everything in the admin."""
    root = django_user_model.objects.create_superuser("root")
    stranger.cookies["sessionid"] = session_cookie(root)
    return stranger


async def test_switching_a_user_off_closes_their_sockets(
    connect, ann, bens_session, admin, django_user_model
):
    """The admin unticks "active", or deletes the user, who hears nothing any more."""
    socket, bens = await connect(), await connect(socket_path("other"), session=bens_session)
    await say(bens, "hello")
    assert (await hear(bens)).get("username") == "ben"
    await say(socket, "hi")
    assert (await hear(socket)).get("username") == "ann"
    fields = {"username": "ann", "date_joined_0": "2026-01-01", "date_joined_1": "12:00:00"}
    saved = submit(admin, f"/admin/auth/user/{ann.pk}/change/", **fields)
    assert saved.url.endswith("/admin/auth/user/")
    assert await close_code(socket) == SIGNED_OUT

    ben = await django_user_model.objects.aget(username="ben")
    deleted = submit(admin, f"/admin/auth/user/{ben.pk}/delete/", post="yes")
    assert deleted.url.endswith("/admin/auth/user/")
    assert await close_code(bens) == SIGNED_OUT


@pytest.mark.parametrize("ended", ["session", "active"])
async def test_being_signed_out_during_the_handshake_closes_the_socket(
    join, monkeypatch, ann, ended
):
    """A session, or a user, that ends after it was read, and before the socket could be told."""
    layer = get_channel_layer()
    group_add = layer.group_add

    async def group_add_after_the_end(group, channel):
        monkeypatch.setattr(layer, "group_add", group_add)
        if ended == "session":
            await Session.objects.all().adelete()
        else:
            ann.is_active = False
            await ann.asave()
        await group_add(group, channel)

    monkeypatch.setattr(layer, "group_add", group_add_after_the_end)
    socket = await join()
    await socket.send_json_to({"message": "let me in"})
    closed = await socket.receive_output()
    assert (closed["type"], closed.get("code")) == ("websocket.close", SIGNED_OUT)
    await socket.wait()
    assert layer.groups == {}


def test_the_session_ends_before_the_sockets_are_told(client, ann, monkeypatch):
    """Or else a socket that connects in between would find the session, and never be told."""
    layer = get_channel_layer()
    told = []

    async def group_send(group, event):
        told.append((event["type"], await Session.objects.acount()))

    monkeypatch.setattr(layer, "group_send", group_send)
    client.force_login(ann)
    client.logout()
    assert told == [("signed.out", 0)]


async def test_nothing_is_heard_of_who_was_signed_out(join, ann):
    """The close takes a moment to arrive; what its client sends meanwhile has no reader."""
    socket = await join()
    await socket.send_json_to({"message": "in time"})
    assert (await socket.receive_json_from()).get("username") == "ann"
    layer = get_channel_layer()
    (group,) = [name for name in layer.groups if not name.startswith("room.")]
    await layer.group_send(group, {"type": "signed.out", "user": ann.pk})
    assert (await socket.receive_output())["code"] == SIGNED_OUT
    await socket.send_json_to({"message": "too late"})
    await socket.wait()
    assert await apps.get_model("chat", "Message").objects.acount() == 1
