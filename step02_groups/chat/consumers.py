"""What happens on a socket: a consumer is to a conversation what a view is to a request."""

import json
import logging

from channels.generic.websocket import AsyncWebsocketConsumer

from .protocol import FrameError, parse_frame
from .rooms import group_name

logger = logging.getLogger(__name__)


class ChatConsumer(AsyncWebsocketConsumer):
    """Pass each message of one client on to everyone in its room.

    Takes ``{"message": "hi"}`` and sends the same to each client in the room, the sender too.
    A frame that breaks the rules gets ``{"error": "…"}``, and the conversation goes on.
    """

    async def connect(self):
        """Join the room's group, then welcome the client."""
        self.room_group = group_name(self.scope["url_route"]["kwargs"]["room_name"])
        # A group is a mailing list; this connection's own channel is the mailbox on it.
        await self.channel_layer.group_add(self.room_group, self.channel_name)
        await self.accept()
        logger.info("connect %s", self.scope["path"])

    async def receive(self, text_data=None, bytes_data=None):
        """Send one message to the room; ``receive`` never answers the sender directly.

        Both parameters are needed: a binary frame would end in a TypeError without the second.
        """
        try:
            message = parse_frame(text_data)
        except FrameError as error:
            # Caught here, because an exception that leaves a consumer ends the connection.
            await self.send(json.dumps({"error": str(error)}))
            return
        # The type names the method that each member runs: chat.message is chat_message. It is
        # ours alone: a client that could choose it could call any method of everybody's consumer.
        event = {"type": "chat.message", "frame": {"message": message}}
        await self.channel_layer.group_send(self.room_group, event)

    async def disconnect(self, code):
        """Leave the group. 1001: the tab was closed or left the page."""
        await self.channel_layer.group_discard(self.room_group, self.channel_name)
        logger.info("disconnect %s %s", self.scope["path"], code)

    async def chat_message(self, event):
        """Hand an event from the group to this client."""
        await self.send(json.dumps(event["frame"]))
