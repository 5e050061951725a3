"""Joining while others talk: first the group, then the history."""

from channels.layers import get_channel_layer

from chat.rooms import group_name

from .helpers import hear_inside


async def test_a_message_during_the_join_comes_once(join, monkeypatch):
    """A message just before or just after the join is neither missing nor double."""

    async def talk(message):
        await talker.send_json_to({"message": message})
        assert (await hear_inside(talker))["message"] == message

    talker = await join()
    layer = get_channel_layer()
    group_add = layer.group_add

    async def group_add_while_others_talk(group, channel):
        if group != group_name("lobby"):
            return await group_add(group, channel)
        await talk("just before")
        await group_add(group, channel)
        await talk("just after")

    monkeypatch.setattr(layer, "group_add", group_add_while_others_talk)
    listener = await join()
    await talk("later")

    heard = []
    while "later" not in heard:
        heard.append((await hear_inside(listener))["message"])
    assert heard == ["just before", "just after", "later"]
    await talker.disconnect()
    await listener.disconnect()
