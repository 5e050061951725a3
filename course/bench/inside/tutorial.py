"""The pattern of the tutorials, inside step 5: each socket is a member of the room's group.

Settings, sign-in and tables are those of step 5. BENCH_LAYER=core chooses the channel layer of the
tutorials.
"""

import os
from functools import partial
from typing import Any

import django

django.setup()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.db import database_sync_to_async  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.routing import URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.conf import settings  # noqa: E402
from django.urls import path  # noqa: E402

from chat.models import Message  # noqa: E402

HISTORY = 50
settings.CHANNEL_LAYERS["core"] = {
    "BACKEND": "channels_redis.core.RedisChannelLayer",
    "CONFIG": {
        # With redis-py's own time limit, a quiet socket would be closed after five seconds.
        "hosts": [{"address": url, "socket_timeout": None} for url in settings.REDIS_URLS],
        # The default capacity, 100 messages for the whole process, would lose most messages.
        "capacity": 1_000_000,
    },
}
# Most tutorials keep the default of Channels, one thread for everything. A thread for each call is
# faster: 3,800 deliveries per second in place of 1,700, in a room of 100.
in_a_thread = partial(database_sync_to_async, thread_sensitive=False)


class TutorialConsumer(AsyncJsonWebsocketConsumer):
    """Store each message, and send it to the group: one dispatch for each recipient."""

    channel_layer_alias = os.environ["BENCH_LAYER"]

    async def connect(self) -> None:
        """Join the group, and send the history."""
        self.room = self.scope["url_route"]["kwargs"]["room"]
        if not self.scope["user"].is_authenticated:
            return await self.close()
        await self.channel_layer.group_add(f"chat_{self.room}", self.channel_name)
        await self.accept()
        for frame in await self.read_history():
            await self.send_json(frame)

    async def disconnect(self, code: int) -> None:
        """Leave the group."""
        await self.channel_layer.group_discard(f"chat_{self.room}", self.channel_name)

    async def receive_json(self, content: dict[str, str]) -> None:
        """Store one message and send it to the group."""
        event = {"type": "chat.message", "frame": await self.store(**content)}
        await self.channel_layer.group_send(f"chat_{self.room}", event)

    async def chat_message(self, event: dict[str, Any]) -> None:
        """Send a message of the group to this client."""
        await self.send_json(event["frame"])

    @in_a_thread
    def read_history(self) -> list[dict[str, Any]]:
        """Return the room's last messages, oldest first."""
        messages = Message.objects.select_related("user").filter(room=self.room)
        return [message.as_frame() for message in reversed(messages.order_by("-seq")[:HISTORY])]

    @in_a_thread
    def store(self, message: str, client_id: str) -> dict[str, Any]:
        """Store one message, and return its frame."""
        fields = {"room": self.room, "user": self.scope["user"]}
        return Message.objects.create(text=message, client_id=client_id, **fields).as_frame()


sockets = URLRouter([path("ws/chat/<str:room>/", TutorialConsumer.as_asgi())])
application = AllowedHostsOriginValidator(AuthMiddlewareStack(sockets))
