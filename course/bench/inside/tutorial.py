"""The pattern of the tutorials, inside step 5: each socket is a member of the room's group.

The settings, the login and the storing are step 5's, the history is step 4's; the consumer and the
channel layer are those of every tutorial. Run as `DJANGO_SETTINGS_MODULE=
course.bench.inside.tutorial_settings daphne course.bench.inside.tutorial_asgi:application` in a
folder that holds step 5.
"""

import json
from functools import partial
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer

from chat.consumers import HISTORY
from chat.models import Message
from chat.protocol import parse_frame
from chat.rooms import group_name
from chat.store import Draft, store

# Most tutorials leave Channels its default, one thread for everything. In a room of 100 that was
# 1,700 deliveries per second, and a thread for each call 3,800; in a room of 500 it was 3,300 and
# 3,400. The faster one is measured here.
in_a_thread = partial(database_sync_to_async, thread_sensitive=False)


class TutorialConsumer(AsyncWebsocketConsumer):
    """Store each message, and send it to the group: one dispatch for each recipient."""

    async def connect(self) -> None:
        """Join the group, and show what was said before."""
        self.room = self.scope["url_route"]["kwargs"]["room_name"]
        self.group = group_name(self.room)
        if not self.scope["user"].is_authenticated:
            await self.close()
            return
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()
        history = await self.read_history()
        self.shown = {frame["id"] for frame in history}
        for frame in history:
            await self.send(json.dumps(frame))

    async def disconnect(self, code: int) -> None:
        """Leave the group."""
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Store one message and send it to the group."""
        frame = await self.store(*parse_frame(text_data))
        await self.channel_layer.group_send(self.group, {"type": "chat.message", "frame": frame})

    async def chat_message(self, event: dict[str, Any]) -> None:
        """Send a message of the group to this client, unless it came with the history."""
        if event["frame"]["id"] not in self.shown:
            await self.send(json.dumps(event["frame"]))

    @in_a_thread
    def read_history(self) -> list[dict[str, Any]]:
        """Return the room's last messages, oldest first."""
        messages = Message.objects.select_related("user").filter(room=self.room)
        return [message.as_frame() for message in reversed(messages.order_by("-seq")[:HISTORY])]

    @in_a_thread
    def store(self, text: str, client_id: str | None) -> dict[str, Any]:
        """Store one message."""
        ((frame, _),) = store(self.room, [Draft(self.scope["user"], text, client_id)])
        return frame
