"""The answers of chapter 2: tests that run in step 2, where they are tests/test_answers.py."""

import asyncio
import json
import threading
from contextlib import suppress

import pytest
from asgiref.sync import async_to_sync
from channels.generic.websocket import WebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.testing import HttpCommunicator, WebsocketCommunicator
from channels_redis.serializers import registry
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse
from django.template import Context, Template
from django.utils import timezone
from django.utils.decorators import sync_and_async_middleware

from chat.consumers import ChatConsumer
from chat.rooms import group_name
from chat.routing import websocket_urlpatterns

from .helpers import SECONDS, hear_inside


def client_of(consumer):
    """Return a client of this consumer, in the room lobby."""
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/ws/chat/lobby/")
    communicator.scope["url_route"] = {"kwargs": {"room_name": "lobby"}}
    return communicator


async def send(message):
    """Send a message to everyone in the room lobby."""
    event = {"type": "chat.message", "frame": {"message": message}}
    await get_channel_layer().group_send(group_name("lobby"), event)


async def test_no_handler_runs_while_connect_waits():
    """An event that comes while connect awaits is handled when connect has ended."""
    door, joined, steps = asyncio.Event(), asyncio.Event(), []

    class SlowConsumer(ChatConsumer):
        async def accept(self):
            joined.set()
            await door.wait()
            await super().accept()
            steps.append("accepted")

        async def chat_message(self, event):
            steps.append("handled")
            await super().chat_message(event)

    client = client_of(SlowConsumer)
    connecting = asyncio.create_task(client.connect(SECONDS))
    await asyncio.wait_for(joined.wait(), SECONDS)
    await send("early")
    # Other consumers go on meanwhile: a whole conversation, and this one has not moved.
    other = client_of(ChatConsumer)
    await other.connect(SECONDS)
    await other.send_json_to({"message": "hi"})
    assert await hear_inside(other) == {"message": "hi"}
    assert steps == []
    door.set()
    assert (await connecting)[0]
    assert await hear_inside(client) == {"message": "early"}
    assert steps[:2] == ["accepted", "handled"]
    await client.disconnect()
    await other.disconnect()


@pytest.mark.parametrize(("config", "arrive"), [({}, 101), ({"capacity": 200}, 201)])
async def test_a_busy_consumer_loses_messages(settings, config, arrive):
    """Of 300 messages, one is in work, and 100 or as many as set wait; the others are dropped."""
    layer = settings.CHANNEL_LAYERS["default"] | {"CONFIG": config}
    settings.CHANNEL_LAYERS = {"default": layer}
    door = asyncio.Event()

    class BusyConsumer(ChatConsumer):
        async def chat_message(self, event):
            await door.wait()
            await super().chat_message(event)

    client = client_of(BusyConsumer)
    await client.connect(SECONDS)
    for number in range(300):
        await send(number)
    door.set()
    heard = [await hear_inside(client) for _ in range(2)]
    await send("the end")  # the mailbox has room again
    while heard[-1]["message"] != "the end":
        heard.append(await hear_inside(client))
    assert [frame["message"] for frame in heard[:-1]] == list(range(arrive))
    await client.disconnect()


async def test_a_busy_consumer_takes_one_frame_ahead():
    """Of two frames that come during a handler, one is taken and waits, and one is not taken."""
    door, busy, handled = asyncio.Event(), asyncio.Event(), []

    class BusyConsumer(ChatConsumer):
        async def chat_message(self, event):
            busy.set()
            await door.wait()

        async def receive(self, text_data=None, bytes_data=None):
            handled.append(text_data)
            await self.send(text_data)

    client, other = client_of(BusyConsumer), client_of(ChatConsumer)
    await client.connect(SECONDS)
    await send("hold")
    await asyncio.wait_for(busy.wait(), SECONDS)
    for number in "12":
        await client.send_to(text_data=number)
    # Another consumer has a whole conversation meanwhile.
    await other.connect(SECONDS)
    await other.send_json_to({"message": "hi"})
    assert await hear_inside(other) == {"message": "hi"}
    assert (client.input_queue.qsize(), handled) == (1, [])
    door.set()
    assert [await client.receive_from(SECONDS) for _ in range(2)] == ["1", "2"]
    await client.disconnect()
    await other.disconnect()


async def test_a_crashed_consumer_stays_in_its_group(monkeypatch):
    """An exception skips disconnect; the channel leaves when a message in it expires."""

    class FragileConsumer(ChatConsumer):
        async def receive(self, text_data):
            raise ValueError("a mistake")

    client = client_of(FragileConsumer)
    await client.connect(SECONDS)
    layer, group = get_channel_layer(), group_name("lobby")
    assert (layer.group_expiry, layer.expiry, layer.capacity) == (86_400, 60, 100)
    (channel,) = layer.groups[group]
    await client.send_to(text_data="anything")
    with pytest.raises(ValueError, match="a mistake"):
        await client.wait(SECONDS)
    assert list(layer.groups[group]) == [channel]
    monkeypatch.setattr(layer, "expiry", -1)  # a message that is too old at once
    await send("anyone here?")
    await send("nobody")
    assert not layer.groups[group]


async def test_synchronous_consumers_share_one_thread():
    """Two connections, one thread: while one consumer waits, the other one cannot run."""
    threads = []

    class SyncConsumer(WebsocketConsumer):
        def receive(self, text_data):
            threads.append(threading.current_thread())
            self.send(text_data)

    clients = [client_of(SyncConsumer), client_of(SyncConsumer)]
    for client in clients:
        await client.connect(SECONDS)
        await client.send_to(text_data="hi")
        assert await client.receive_from(SECONDS) == "hi"
    for client in clients:
        await client.disconnect()
    assert threads[0] is threads[1]
    assert threads[0] is not threading.main_thread()


async def test_a_synchronous_consumer_that_waits_for_the_layer_holds_up_the_others(monkeypatch):
    """While `async_to_sync` waits for the layer, another consumer's method cannot run."""
    second_runs, met = asyncio.Event(), []

    async def slow_group_send(group, event):
        with suppress(TimeoutError):
            await asyncio.wait_for(second_runs.wait(), 0.5)
        met.append(second_runs.is_set())

    class SyncConsumer(WebsocketConsumer):
        def receive(self, text_data):
            if text_data == "second":
                loop.call_soon_threadsafe(second_runs.set)
            else:
                async_to_sync(self.channel_layer.group_send)("lobby", {"type": "chat.message"})
            self.send(text_data)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(get_channel_layer(), "group_send", slow_group_send)
    first, second = client_of(SyncConsumer), client_of(SyncConsumer)
    for client in (first, second):
        await client.connect(SECONDS)
    await first.send_to(text_data="first")
    await second.send_to(text_data="second")
    assert await first.receive_from(SECONDS) == "first"
    assert await second.receive_from(SECONDS) == "second"
    assert met == [False]
    for client in (first, second):
        await client.disconnect()


async def test_asynchronous_consumers_run_in_the_thread_of_the_event_loop():
    """All asynchronous consumers run in one thread, and one that awaits lets the others go on."""
    threads = []

    class ThreadConsumer(ChatConsumer):
        async def chat_message(self, event):
            threads.append(threading.current_thread())
            await super().chat_message(event)

    clients = [client_of(ThreadConsumer), client_of(ThreadConsumer)]
    for client in clients:
        await client.connect(SECONDS)
    await send("hi")
    for client in clients:
        assert await hear_inside(client) == {"message": "hi"}
        await client.disconnect()
    assert threads == [threading.current_thread()] * 2


async def test_an_event_with_a_datetime_works_in_memory_only():
    """The in-memory layer copies an event; the layers with Redis turn it into bytes."""
    channel = await get_channel_layer().new_channel()
    event = {"type": "chat.message", "time": timezone.now()}
    await get_channel_layer().send(channel, event)
    assert await get_channel_layer().receive(channel) == event
    serializer = registry.get_serializer("msgpack")
    with pytest.raises(TypeError, match="datetime"):
        serializer.serialize(event)


async def test_a_client_that_joins_later_gets_nothing():
    """Each consumer has a channel of its own. The layer keeps nothing for one that comes later."""
    first, second = client_of(ChatConsumer), client_of(ChatConsumer)
    await first.connect(SECONDS)
    await send("early")
    assert await hear_inside(first) == {"message": "early"}
    await second.connect(SECONDS)
    assert len(get_channel_layer().groups[group_name("lobby")]) == 2
    await send("late")
    assert await hear_inside(second) == {"message": "late"}
    for client in (first, second):
        await client.disconnect()


@sync_and_async_middleware
def refuse(get_response):
    """Refuse each request, as a middleware."""

    async def answer(request):
        return HttpResponse("Refused.", status=403)

    return answer


async def test_a_middleware_of_django_sees_no_socket(settings):
    """A middleware that refuses all requests refuses a page, and not a socket."""
    settings.MIDDLEWARE = [f"{__name__}.refuse"]
    application = ProtocolTypeRouter(
        {"http": ASGIHandler(), "websocket": URLRouter(websocket_urlpatterns)}
    )
    page = HttpCommunicator(application, "GET", "/chat/")
    assert (await page.get_response(SECONDS))["body"] == b"Refused."
    client = WebsocketCommunicator(application, "/ws/chat/lobby/")
    assert (await client.connect(SECONDS))[0]
    await client.disconnect()


def test_a_name_in_quotes_is_no_javascript():
    """`json_script` gives the script the name as it is; braces in a script do not."""
    context = Context({"room_name": "O'Hara's \\"})
    braces = Template('"{{ room_name }}"').render(context)
    assert braces == '"O&#x27;Hara&#x27;s \\"'  # and the last backslash takes the quote
    with pytest.raises(json.JSONDecodeError):
        json.loads(braces)
    element = Template('{{ room_name|json_script:"room-name" }}').render(context)
    assert json.loads(element.partition(">")[2].partition("<")[0]) == "O'Hara's \\"
