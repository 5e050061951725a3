"""Signing out closes the sockets that are open, with code 4001."""

import pytest
from channels.layers import get_channel_layer
from django.contrib.sessions.models import Session

from chat.models import Message

from .helpers import (
    SIGNED_OUT,
    close_code,
    hear,
    hear_inside,
    refusal,
    say,
    session_cookie,
    socket_path,
    submit,
)


async def test_signing_out_closes_all_sockets_of_the_user(
    visitor, connect, bens_session
):
    """In every room and every tab, at once. Other users do not notice."""
    anns = [await connect(), await connect(), await connect(socket_path("日本語"))]
    bens = await connect(session=bens_session)

    submit(visitor, "/chat/", to="/accounts/logout/")

    assert [await close_code(socket) for socket in anns] == [SIGNED_OUT] * 3
    assert await refusal(await connect()) == SIGNED_OUT
    await say(bens, "still here")
    assert (await hear(bens))["message"] == "still here"


@pytest.fixture
def admin(stranger, django_user_model):
    """Return the HTTP client of a superuser."""
    root = django_user_model.objects.create_superuser("root")
    stranger.cookies["sessionid"] = session_cookie(root)
    return stranger


async def test_deactivating_a_user_closes_their_sockets(
    connect, ann, bens_session, admin, django_user_model
):
    """The admin makes a user inactive, or deletes one: their sockets close."""
    socket, bens = (
        await connect(),
        await connect(socket_path("other"), session=bens_session),
    )
    await say(bens, "hello")
    assert (await hear(bens))["username"] == "ben"
    await say(socket, "hi")
    assert (await hear(socket))["username"] == "ann"
    fields = {
        "username": "ann",
        "date_joined_0": "2026-01-01",
        "date_joined_1": "12:00:00",
    }
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
    """The session or the user ends after it was read, and before the group was joined."""
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
    """Otherwise a socket that connects in between finds the session, and stays open."""
    layer = get_channel_layer()
    told = []

    async def group_send(group, event):
        told.append((event["type"], await Session.objects.acount()))

    monkeypatch.setattr(layer, "group_send", group_send)
    client.force_login(ann)
    client.logout()
    assert told == [("user.signed_out", 0)]


async def test_a_message_after_the_sign_out_is_ignored(join, ann):
    """The close code takes a moment to arrive. A message sent meanwhile is not stored."""
    socket = await join()
    await socket.send_json_to({"message": "in time"})
    assert (await hear_inside(socket))["username"] == "ann"
    layer = get_channel_layer()
    groups = [name for name in layer.groups if not name.startswith("room.")]
    assert groups, "there is no group to send a sign-out to"
    await layer.group_send(groups[0], {"type": "user.signed_out", "user": ann.pk})
    assert (await socket.receive_output())["code"] == SIGNED_OUT
    await socket.send_json_to({"message": "too late"})
    await socket.wait()
    assert await Message.objects.acount() == 1
