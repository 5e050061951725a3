"""Groups: consumers talk to each other through the channel layer."""

import asyncio

from channels.layers import get_channel_layer

from .helpers import hear, hear_inside, say, socket_path


async def test_everyone_in_the_room_and_the_sender_hears_a_message(connect):
    """A message goes to each socket in the room."""
    ann, ben, cat = await connect(), await connect(), await connect()
    await say(ann, "hi all")
    for person in [ann, ben, cat]:
        assert (await hear(person))["message"] == "hi all"


async def test_another_room_hears_nothing(connect):
    """A message stays in its room."""
    here, there = (
        await connect(socket_path("here")),
        await connect(socket_path("there")),
    )
    await say(here, "a secret")
    assert (await hear(here))["message"] == "a secret"
    # If the other room had heard the secret, it would be that room's first frame.
    await say(there, "all quiet")
    assert (await hear(there))["message"] == "all quiet"


async def test_messages_come_in_the_order_they_were_sent(connect):
    """The room hears one sender's messages in order."""
    sender, listener = await connect(), await connect()
    for number in range(30):
        await say(sender, f"message {number}")
    for socket in [sender, listener]:
        heard = [(await hear(socket))["message"] for _ in range(30)]
        assert heard == [f"message {number}" for number in range(30)]


async def test_a_client_that_has_left_is_no_longer_in_the_group(connect):
    """The room goes on without the clients that left."""
    staying, leaving = await connect(), await connect()
    await leaving.close()
    await say(staying, "are you gone?")
    assert (await hear(staying))["message"] == "are you gone?"


async def test_an_open_socket_is_in_the_group(join, monkeypatch):
    """A client joins the group before its socket opens, so it misses nothing afterwards."""
    layer = get_channel_layer()
    group_add = layer.group_add

    async def slow_group_add(group, channel):
        await asyncio.sleep(0.1)
        await group_add(group, channel)

    talker = await join()
    monkeypatch.setattr(layer, "group_add", slow_group_add)
    listener = await join()
    await talker.send_json_to({"message": "hi"})
    assert (await hear_inside(listener))["message"] == "hi"
    await talker.disconnect()
    await listener.disconnect()


async def test_any_code_can_send_to_the_room(join):
    """A view, the admin or a command can send to the group, if it knows the group's name."""
    communicator = await join()
    await communicator.send_json_to({"message": "hi"})
    assert (await hear_inside(communicator))["message"] == "hi"
    layer = get_channel_layer()
    event = {"type": "chat.message", "frame": {"message": "Closing in five minutes."}}
    (group,) = [name for name in layer.groups if name.startswith("room.")]
    await layer.group_send(group, event)

    assert (await hear_inside(communicator))["message"] == "Closing in five minutes."
    await communicator.disconnect()
    assert (
        group not in layer.groups
    )  # the channel layer forgets a group without members
