"""One subscription for all sockets of a process: who comes, goes, breaks or is slow."""

import asyncio
import importlib
import random
from importlib.util import find_spec

import pytest
from channels.layers import get_channel_layer
from channels_redis.pubsub import RedisPubSubChannelLayer

from .helpers import SECONDS, hear, say


@pytest.fixture
def fanout():
    """Return the module of that name."""
    assert find_spec("chat.fanout"), "each socket has a subscription of its own"
    return importlib.import_module("chat.fanout")


@pytest.fixture
def outbox(fanout):
    """Return the module of that name."""
    return importlib.import_module("chat.outbox")


@pytest.fixture
def layer(fanout, monkeypatch):
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
    return layer


async def tell(group, number=1):
    """Send an event to a group."""
    event = {"type": "chat.message", "frame": {"number": number}}
    await get_channel_layer().group_send(group, event)


class Socket:
    """What a subscription needs of an outbox."""

    def __init__(self):
        """Start with nothing."""
        self.events = asyncio.Queue()

    def put(self, event):
        """Note what would be sent."""
        self.events.put_nowait(event)


async def test_an_event_comes_once_and_is_encoded_once(fanout, layer):
    """The channel layer has one member for however many sockets; all get the same object."""
    sockets = [Socket() for _ in range(100)]
    for socket in sockets:
        subscription = await fanout.Subscription.enter("room.a")
        subscription.sockets.add(socket)
    assert layer.asked == ["group_add"]
    await tell("room.a")
    events = [
        await asyncio.wait_for(socket.events.get(), SECONDS) for socket in sockets
    ]
    assert all(event is events[0] for event in events)
    assert events[0] == {"type": "websocket.send", "text": '{"number": 1}'}
    for socket in sockets:
        await subscription.leave(socket)
    assert layer.asked == ["group_add", "group_discard"]


async def test_who_comes_while_the_last_one_leaves_hears(fanout, layer):
    """Subscribing does not overtake unsubscribing, nor the other way round."""
    first = await fanout.Subscription.enter("room.a")
    leaving = asyncio.create_task(first.leave())
    await asyncio.sleep(0)
    second = await fanout.Subscription.enter("room.a")
    await leaving
    socket = Socket()
    second.sockets.add(socket)
    await tell("room.a")
    await asyncio.wait_for(socket.events.get(), SECONDS)
    await second.leave(socket)
    assert layer.groups == {}


async def test_coming_and_going_in_any_order(fanout, layer):
    """Many come and go at once, some are cancelled on the way: who is in hears, always."""

    async def visit():
        for _ in range(10):
            subscription = await fanout.Subscription.enter("room.a")
            socket = Socket()
            subscription.sockets.add(socket)
            try:
                await tell("room.a")
                # Not wait_for, which may forget on Python 3.11 that it was cancelled.
                async with asyncio.timeout(SECONDS):
                    await socket.events.get()
            finally:
                await subscription.leave(socket)
            await asyncio.sleep(random.uniform(0, 0.003))

    visits = [asyncio.create_task(visit()) for _ in range(10)]
    for visitor in visits[:5]:
        await asyncio.sleep(random.uniform(0, 0.004))
        visitor.cancel()
    results = await asyncio.gather(*visits, return_exceptions=True)
    assert [r for r in results if not isinstance(r, asyncio.CancelledError)] == [
        None
    ] * 5
    assert layer.groups == {}
    assert layer.asked.count("group_add") == layer.asked.count("group_discard")


async def test_without_the_channel_layer_sockets_are_served(
    fanout, layer, monkeypatch
):
    """Subscribing fails, and is tried again; nobody waits for it."""
    monkeypatch.setattr(fanout, "PATIENCE", 0.05)
    group_add, broken = layer.group_add, True

    async def group_add_or_not(group, channel):
        if broken:
            raise ConnectionError("no Redis")
        await group_add(group, channel)

    monkeypatch.setattr(layer, "group_add", group_add_or_not)
    subscription = await asyncio.wait_for(fanout.Subscription.enter("room.a"), 1)
    socket = Socket()
    subscription.sockets.add(socket)
    broken = False
    for number in range(100):
        await tell("room.a", number)
        await asyncio.sleep(0.01)
        if not socket.events.empty():
            break
    assert not socket.events.empty()
    await subscription.leave(socket)


async def test_without_redis_nothing_piles_up(fanout, monkeypatch):
    """An outage may last for hours, and the layer keeps what it could not subscribe."""
    monkeypatch.setattr(fanout, "PATIENCE", 0.01)
    layer = RedisPubSubChannelLayer(hosts=["redis://127.0.0.1:1"])
    monkeypatch.setattr(fanout, "get_channel_layer", lambda: layer)
    subscription = await fanout.Subscription.enter("room.a")
    await asyncio.sleep(0.3)
    assert layer._get_layer().channels == {}
    await subscription.leave()


async def test_a_broken_socket_harms_nobody(outbox):
    """What is sent into nowhere is forgotten, and the outbox takes no more."""

    async def send(event):
        raise OSError("gone")

    broken = outbox.Outbox(send, 1)
    broken.accept()
    await broken.empty()
    broken.put({})
    assert (broken.closed, len(broken.waiting)) == (True, 0)


async def test_a_slow_socket_is_closed_and_forgotten(outbox):
    """It gets what it had not read when it was closed at the latest: nothing, then 1013."""
    sent, reading = [], asyncio.Event()

    async def send(event):
        if event["type"] == "websocket.send":
            await reading.wait()
        sent.append(event)

    slow = outbox.Outbox(send, 1)
    slow.accept()
    for number in range(2 * outbox.LIMIT):
        slow.put({"type": "websocket.send", "number": number})
        await asyncio.sleep(0)
    assert len(slow.waiting) == 1
    reading.set()
    await slow.empty()
    numbers = [event["number"] for event in sent if "number" in event]
    assert numbers == list(range(len(numbers)))
    assert sent[-1] == {"type": "websocket.close", "code": 1013}


async def test_an_outbox_keeps_the_order(outbox):
    """Whatever is put while something is being sent comes after it."""
    sent = []

    async def send(event):
        await asyncio.sleep(0)
        sent.append(event.get("number"))

    box = outbox.Outbox(send, 1)
    box.put({"number": 1})
    box.accept()
    for number in range(2, 20):
        box.put({"number": number})
        await asyncio.sleep(0)
    await box.empty()
    assert sent == [None, *range(1, 20)]


async def test_a_connection_that_is_cut_off_leaves_the_room(fanout, join):
    """However a consumer ends, cancelled or by an error, nothing of it stays."""
    layer = get_channel_layer()
    staying, cut_off = await join(), await join()
    cut_off.future.cancel()
    await asyncio.wait([cut_off.future])
    here = fanout.subscriptions[asyncio.get_running_loop()]
    assert {subscription.visitors for subscription in here.values()} == {1}
    await staying.send_json_to({"message": "still here"})
    assert (await staying.receive_json_from())["message"] == "still here"
    await staying.disconnect()
    assert layer.groups == {}


async def test_who_does_not_read_holds_up_nobody(connect):
    """On a real server: one client reads nothing, and the others hear everything."""
    talker, listener = await connect(), await connect()
    await connect(max_queue=1, close_timeout=0)
    for number in range(300):
        await say(talker, "x" * 1000)
        assert (await hear(talker)).get("seq") == number + 1
    assert [(await hear(listener))["seq"] for _ in range(300)] == list(range(1, 301))
