"""The fourth way: a socket."""

import json

from channels.generic.websocket import AsyncWebsocketConsumer

from .events import GROUP


class EventConsumer(AsyncWebsocketConsumer):
    """Send each event to one client, from now on."""

    groups = [GROUP]  # Channels joins them before `connect` and leaves them at the end

    async def live_event(self, event):
        """Send an event of the group as one frame."""
        await self.send(json.dumps(event["event"]))
