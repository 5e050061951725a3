"""The mistakes of docs/errors.md: chat/mistakes.py in the copy of step 4 that the tests make.

A class has one mistake; the class with `Cured` in its name does what the entry says instead.
"""

import asyncio
from datetime import UTC, datetime

from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.core.asgi import get_asgi_application
from django.http import StreamingHttpResponse
from django.urls import path, re_path

from .consumers import ChatConsumer
from .models import Message
from .rooms import group_name


class Echo(AsyncWebsocketConsumer):
    """Answer each frame with itself, without any channel layer."""

    async def receive(self, text_data=None, bytes_data=None):
        """Send the frame back."""
        await self.send(text_data)


class Member(AsyncWebsocketConsumer):
    """Pass each frame on to a group, as step 2 does, without rules for frames."""

    group = "members"

    async def connect(self):
        """Join the group, and accept."""
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def receive(self, text_data=None, bytes_data=None):
        """Send the frame to the group."""
        event = {"type": "chat.message", "text": text_data}
        await self.channel_layer.group_send(self.group, event)

    async def chat_message(self, event):
        """Send the frame of a member to this client."""
        await self.send(event["text"])


class NotAwaited(Member):
    """Forget the `await` before `group_send`."""

    async def receive(self, text_data=None, bytes_data=None):
        """Make a coroutine that nobody runs."""
        event = {"type": "chat.message", "text": text_data}
        self.channel_layer.group_send(self.group, event)


class Misspelt(Member):
    """Send a type for which there is no method."""

    group = "misspelt"

    async def receive(self, text_data=None, bytes_data=None):
        """Leave a letter of the type out."""
        event = {"type": "chat.mesage", "text": text_data}
        await self.channel_layer.group_send(self.group, event)


class Query(Member):
    """Use the ORM from async code."""

    async def receive(self, text_data=None, bytes_data=None):
        """Ask the database from the event loop."""
        await self.send(str(Message.objects.count()))


class QueryCured(Member):
    """Use the ORM from a thread."""

    async def receive(self, text_data=None, bytes_data=None):
        """Ask the database from a thread."""
        await self.send(str(await database_sync_to_async(Message.objects.count)()))


class ToSync(Member):
    """Use `async_to_sync` in async code."""

    async def receive(self, text_data=None, bytes_data=None):
        """Wrap what could be awaited."""
        event = {"type": "chat.message", "text": text_data}
        async_to_sync(self.channel_layer.group_send)(self.group, event)


class Named(Member):
    """Take what a person wrote as the name of the group."""

    async def connect(self):
        """Join a group with a name that no layer allows."""
        self.group = self.scope["url_route"]["kwargs"]["name"]
        await super().connect()


class NamedCured(Member):
    """Make the name of the group from what a person wrote, as step 2 does."""

    async def connect(self):
        """Join a group with a name that each layer allows."""
        self.group = group_name(self.scope["url_route"]["kwargs"]["name"])
        await super().connect()


class Refused(Member):
    """Close with a code before `accept`."""

    async def connect(self):
        """Refuse with 4001."""
        await self.close(4001)


class RefusedCured(Member):
    """Accept, then close with a code."""

    async def connect(self):
        """Refuse with 4001, as step 4 does."""
        await self.accept()
        await self.close(4001)


class Waits(Member):
    """Wait for something slow before `accept`."""

    async def connect(self):
        """Accept too late."""
        await asyncio.sleep(20)
        await self.accept()


class WaitsCured(Member):
    """Accept before the slow part."""

    async def connect(self):
        """Accept, then wait."""
        await self.accept()
        await asyncio.sleep(6)
        await self.send("ready")


class Ticker(Member):
    """Send the time, in a loop inside the handler."""

    async def receive(self, text_data=None, bytes_data=None):
        """Go on for ever; no other event of this client is handled any more."""
        await self.tick()

    async def tick(self):
        """Send a frame every second."""
        while True:
            await self.send("tick")
            await asyncio.sleep(1)


class TickerCured(Ticker):
    """Send the time from a task of its own."""

    async def receive(self, text_data=None, bytes_data=None):
        """Start the task; the handler ends at once."""
        self.task = asyncio.create_task(self.tick())

    async def disconnect(self, code):
        """End the task."""
        self.task.cancel()


class Farewell(Member):
    """Count the clients, and trust `disconnect` to count down."""

    group = "farewell"
    clients = set()

    async def connect(self):
        """Count one more."""
        self.clients.add(self)
        await super().connect()

    async def receive(self, text_data=None, bytes_data=None):
        """Answer `count`, and pass all other frames on."""
        if text_data == "count":
            await self.send(str(len(self.clients)))
        else:
            await super().receive(text_data)

    async def disconnect(self, code):
        """Count one less."""
        self.clients.discard(self)


class FarewellCured(Farewell):
    """Count down however the connection ends."""

    group = "farewellcured"
    clients = set()

    async def __call__(self, *args):
        """Handle one connection; the end counts also after an exception."""
        try:
            await super().__call__(*args)
        finally:
            self.clients.discard(self)


class Slow(Member):
    """Wait inside the handler, until another client says `release`."""

    released = asyncio.Event()

    async def receive(self, text_data=None, bytes_data=None):
        """Answer `slow` after the release, and all other frames at once."""
        if text_data == "release":
            self.released.set()
        if text_data == "slow":
            await self.released.wait()
        await self.send(f"{text_data}, released: {self.released.is_set()}")


class SlowCured(Slow):
    """Wait in a task of its own."""

    released = asyncio.Event()
    tasks = set()  # the event loop itself keeps no task alive

    async def receive(self, text_data=None, bytes_data=None):
        """Start the task; the handler ends at once."""
        task = asyncio.create_task(super().receive(text_data))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class WhoAmI(AsyncWebsocketConsumer):
    """Answer each frame with the name of the user in the scope."""

    async def receive(self, text_data=None, bytes_data=None):
        """Send the name."""
        await self.send(str(self.scope["user"]))


class Impatient(Member):
    """Use the core layer as most tutorials do."""

    channel_layer_alias = "impatient"


class Patient(Member):
    """Use the core layer without its time limit."""

    channel_layer_alias = "patient"


class Nobody(Member):
    """Use a Redis that is not there."""

    channel_layer_alias = "nobody"


class Crowd(Patient):
    """Send more to one's own mailbox than fits."""

    group = "crowd"

    async def receive(self, text_data=None, bytes_data=None):
        """Send 300 events, and handle none of them meanwhile."""
        for number in range(1, 301):
            event = {"type": "chat.message", "text": str(number)}
            await self.channel_layer.group_send(self.group, event)


class CrowdInMemory(Crowd):
    """Do the same with the layer in memory."""

    channel_layer_alias = "default"


class CrowdCured(Crowd):
    """Use the layer that has no capacity."""

    channel_layer_alias = "unbounded"


class Dated(Patient):
    """Put a datetime into an event."""

    async def receive(self, text_data=None, bytes_data=None):
        """Send what Redis cannot carry."""
        event = {"type": "chat.message", "text": "hi", "sent_at": datetime.now(UTC)}
        await self.channel_layer.group_send(self.group, event)


class DatedInMemory(Dated):
    """Send the same over the layer in memory."""

    channel_layer_alias = "default"


class DatedCured(Patient):
    """Put text into an event."""

    async def receive(self, text_data=None, bytes_data=None):
        """Send the time as ISO 8601."""
        event = {"type": "chat.message", "text": datetime.now(UTC).isoformat()}
        await self.channel_layer.group_send(self.group, event)


async def stream(request):
    """Stream lines from an ordinary generator."""
    return StreamingHttpResponse(line for line in ["one", "two"])


async def stream_cured(request):
    """Stream lines from an asynchronous generator."""

    async def lines():
        for line in ["one", "two"]:
            yield line

    return StreamingHttpResponse(lines())


ROUTES = [
    path(f"ws/{name.lower()}/", consumer.as_asgi())
    for name, consumer in list(globals().items())
    if getattr(consumer, "__module__", "") == __name__ and hasattr(consumer, "as_asgi")
]
ROUTES += [
    path("ws/named/<name>/", Named.as_asgi()),
    path("ws/namedcured/<name>/", NamedCured.as_asgi()),
    re_path(r"^ws/word/(?P<name>\w+)/$", Named.as_asgi()),
    path("ws/class/", ChatConsumer),  # as_asgi() is missing
    path("ws/plain/", get_asgi_application()),  # Django alone
]
urlpatterns = [
    path("stream/", stream),
    path("stream-cured/", stream_cured),
    path("consumer/", ChatConsumer.as_asgi()),  # it belongs into routing.py
]
