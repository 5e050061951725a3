"""The pattern of the tutorials, inside step 5: each socket is a member of the room's group.

The settings, the login, the storing and the history are step 5's; only the consumer and the
channel layer are others. Run as `DJANGO_SETTINGS_MODULE=course.bench.tutorial_settings daphne
course.bench.tutorial_asgi:application` in a folder that holds step 5.
"""

import json
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from chat.consumers import HISTORY
from chat.protocol import parse_frame
from chat.rooms import group_name
from chat.store import Draft, read_after, read_counters, store
from chat.threads import in_a_thread


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
        last = (await read_counters([self.room])).get(self.room, 0)
        for frame in await read_after(self.room, max(last - HISTORY, 0), last):
            await self.send(json.dumps(frame))

    async def disconnect(self, code: int) -> None:
        """Leave the group."""
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        """Store one message and send it to the group."""
        message, client_id = parse_frame(text_data)
        draft = Draft(self.scope["user"], message, client_id)
        ((frame, _),) = await in_a_thread(store)(self.room, [draft])
        await self.channel_layer.group_send(self.group, {"type": "chat.message", "frame": frame})

    async def chat_message(self, event: dict[str, Any]) -> None:
        """Send a message of the group to this client."""
        await self.send(json.dumps(event["frame"]))
