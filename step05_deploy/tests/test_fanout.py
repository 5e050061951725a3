"""One subscription for all sockets of a process, while sockets come, go and break."""

import asyncio
import random
from contextlib import suppress

import pytest
from channels.layers import get_channel_layer

from chat.consumers import ChatConsumer
from chat.fanout import Subscription, subscriptions

from .helpers import SECONDS, hear_inside

TOO_SLOW = 4013


@pytest.fixture
async def layer(monkeypatch):
    """Return a channel layer that takes its time, and counts what it is asked."""
    layer = get_channel_layer()
    layer.asked = []

    def slow(method):
        async def slowly(group, channel):
            layer.asked.append(method.__name__)
            await asyncio.sleep(random.uniform(0, 0.002))
            await method(group, channel)

        return slowly

    monkeypatch.setattr(layer, "group_add", slow(layer.group_add))
    monkeypatch.setattr(layer, "group_discard", slow(layer.group_discard))
    yield layer
    await layer.flush()


async def tell(group, method="chat.message"):
    """Send an event to a group."""
    await get_channel_layer().group_send(
        group, {"type": method, "frame": {"number": 1}}
    )


async def until(condition):
    """Wait until a condition holds."""
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


async def until_nothing_is_left():
    """Wait until this process has no subscription, and no room has a member."""
    await until(lambda: not subscriptions.get(asyncio.get_running_loop()))
    groups = get_channel_layer().groups
    await until(lambda: not any(name.startswith("room.") for name in groups))


class Ears(Subscription):
    """A subscription that hands out each event."""

    async def subscribed(self):
        """Do nothing before the first event."""

    async def chat_message(self, event):
        """Hand out a frame."""
        await self.hand_out(event["frame"])


class Socket:
    """A stand-in for an outbox: it notes each event."""

    def __init__(self):
        """Start with nothing."""
        self.events = asyncio.Queue()
        self.code = None

    def put(self, event):
        """Note what would be sent."""
        self.events.put_nowait(event)

    def close(self, code):
        """Note the close code."""
        self.code = code

    async def hear(self):
        """Return the next event."""
        # Not wait_for, which may forget on Python 3.11 that it was cancelled.
        async with asyncio.timeout(SECONDS):
            return await self.events.get()


async def test_an_event_comes_once_and_is_encoded_once(layer):
    """The layer has one member for a hundred sockets. They all get the same object."""
    sockets = [Socket() for _ in range(100)]
    for socket in sockets:
        subscription = await Ears.enter("room.a")
        subscription.outboxes.add(socket)
    assert layer.asked == ["group_add"]
    await tell("room.a")
    events = [await socket.hear() for socket in sockets]
    assert all(event is events[0] for event in events)
    assert events[0] == {"type": "websocket.send", "text": '{"number": 1}'}
    for socket in sockets:
        subscription.leave(socket)
    await until_nothing_is_left()
    assert layer.asked == ["group_add", "group_discard"]


async def test_a_socket_that_comes_while_the_last_one_leaves_hears(layer):
    """Subscribing does not overtake unsubscribing, nor the other way round."""
    first = await Ears.enter("room.a")
    first.leave()
    second = await Ears.enter("room.a")
    socket = Socket()
    second.outboxes.add(socket)
    await tell("room.a")
    await socket.hear()
    second.leave(socket)
    await until_nothing_is_left()


async def test_coming_and_going_in_any_order(layer):
    """Many sockets come and go, some are cancelled on the way. The others hear."""

    async def visit():
        for _ in range(10):
            subscription = await Ears.enter("room.a")
            socket = Socket()
            subscription.outboxes.add(socket)
            try:
                await tell("room.a")
                await socket.hear()
            finally:
                subscription.leave(socket)
            await asyncio.sleep(random.uniform(0, 0.003))

    visits = [asyncio.create_task(visit()) for _ in range(10)]
    for visitor in visits[:5]:
        await asyncio.sleep(random.uniform(0, 0.004))
        visitor.cancel()
    results = await asyncio.gather(*visits, return_exceptions=True)
    finished = [r for r in results if not isinstance(r, asyncio.CancelledError)]
    assert set(finished) == {None}
    assert len(finished) >= 5
    await until_nothing_is_left()
    assert layer.asked.count("group_add") == layer.asked.count("group_discard")


async def test_a_socket_that_goes_before_it_is_in_leaves_nothing(layer, monkeypatch):
    """A client goes while the layer is still busy. The next one gets in."""
    new_channel = layer.new_channel
    waiting = asyncio.Event()

    async def wait_for_ever():
        waiting.set()
        await asyncio.sleep(3600)

    monkeypatch.setattr(layer, "new_channel", wait_for_ever)
    entering = asyncio.create_task(Ears.enter("room.a"))
    await waiting.wait()
    entering.cancel()
    await asyncio.wait([entering])
    monkeypatch.setattr(layer, "new_channel", new_channel)
    async with asyncio.timeout(SECONDS):
        second = await Ears.enter("room.a")
    second.leave()
    await until_nothing_is_left()


async def test_a_subscription_that_fails_lets_nobody_wait(layer, monkeypatch):
    """All who wait for it are told that it has ended. The next try may succeed."""
    new_channel = layer.new_channel

    async def fail():
        await asyncio.sleep(0.01)
        raise LookupError("no channel")

    monkeypatch.setattr(layer, "new_channel", fail)
    async with asyncio.timeout(SECONDS):
        entered = await asyncio.gather(*[Ears.enter("room.a") for _ in range(3)])
    assert [subscription.ended for subscription in entered] == [True] * 3
    monkeypatch.setattr(layer, "new_channel", new_channel)
    async with asyncio.timeout(SECONDS):
        another = await Ears.enter("room.a")
    assert not another.ended
    for subscription in [*entered, another]:
        subscription.leave()
    await until_nothing_is_left()


async def test_an_event_that_fails_closes_the_sockets_of_its_group(layer):
    """They come back, and miss nothing. Sockets of other groups do not notice."""
    subscriptions_of = {}
    sockets = {group: Socket() for group in ["room.a", "room.b"]}
    for group, socket in sockets.items():
        subscriptions_of[group] = await Ears.enter(group)
        subscriptions_of[group].outboxes.add(socket)
    await tell("room.a", method="no.such.method")
    await until(lambda: sockets["room.a"].code)
    assert sockets["room.a"].code == TOO_SLOW
    again = await Ears.enter("room.a")
    assert not again.ended
    await tell("room.b")
    await sockets["room.b"].hear()
    for subscription in [again, *subscriptions_of.values()]:
        subscription.leave()
    await until_nothing_is_left()


async def test_a_subscription_that_failed_leaves_its_group(layer, monkeypatch):
    """Its last socket may go while it tells the layer: that must not stop it."""
    group_discard = layer.group_discard

    async def take_longer(group, channel):
        await asyncio.sleep(0.05)
        await group_discard(group, channel)

    monkeypatch.setattr(layer, "group_discard", take_longer)
    subscription, socket = await Ears.enter("room.a"), Socket()
    subscription.outboxes.add(socket)
    await tell("room.a", method="no.such.method")
    await until(lambda: socket.code)
    subscription.leave(socket)
    await until_nothing_is_left()


@pytest.mark.parametrize("times", [1, 2])
async def test_a_connection_that_is_cut_off_leaves(layer, join, times):
    """A server may cancel a consumer, also while that one waits to leave."""
    staying, cut_off = await join("/ws/chat/a/"), await join("/ws/chat/b/")
    for _ in range(times):
        cut_off.future.cancel()
        await asyncio.wait([cut_off.future], timeout=0.001)
    await asyncio.wait([cut_off.future])
    here = subscriptions[asyncio.get_running_loop()]
    await until(lambda: all(each.visitors == 1 for each in here.values()))
    await staying.send_json_to({"message": "still here"})
    assert (await hear_inside(staying))["message"] == "still here"
    await staying.disconnect()
    await until_nothing_is_left()


async def test_a_connection_that_breaks_leaves(layer, join, monkeypatch):
    """An exception that leaves a consumer skips ``disconnect``."""

    async def receive(self, text_data=None, bytes_data=None):
        raise LookupError("a mistake in the program")

    monkeypatch.setattr(ChatConsumer, "receive", receive)
    broken = await join()
    await broken.send_json_to({"message": "hi"})
    with suppress(LookupError):
        await broken.wait()
    await until_nothing_is_left()
