"""The consumer: it is to a connection what a view is to a request."""

import json
import logging

from channels.generic.websocket import AsyncWebsocketConsumer

from .protocol import FrameError, parse_frame
from .rooms import group_name

logger = logging.getLogger(__name__)


class ChatConsumer(AsyncWebsocketConsumer):
    """Pass each message of one client on to everyone in its room.

    Takes ``{"message": "hi"}`` and sends the same to each client in the room, the
    sender too. A frame that breaks the rules gets ``{"error": "…"}``, and the
    connection stays open.

    The consumer is asynchronous, because the channel layer's methods are. One thread
    serves all connections: while one consumer awaits, the others go on. Each consumer
    handles one event at a time, so ``chat_message`` cannot run while ``connect``
    awaits.
    """

    async def connect(self):
        """Join the room's group, then accept the handshake."""
        self.room_group = group_name(self.scope["url_route"]["kwargs"]["room_name"])
        # A channel is this connection's mailbox, a group is a mailing list of
        # channels. Join before accepting: a client whose socket is open then misses
        # nothing.
        await self.channel_layer.group_add(self.room_group, self.channel_name)
        await self.accept()
        logger.info("connect %s", self.scope["path"])

    async def receive(self, text_data=None, bytes_data=None):
        """Send one message to the room's group. The sender is a member too.

        Channels passes one of the two parameters. Without ``bytes_data``, a binary
        frame raises TypeError.
        """
        try:
            message = parse_frame(text_data)
        except FrameError as error:
            # An exception that leaves a consumer ends the connection, so we catch it.
            await self.send_frame({"error": str(error)})
            return
        # The type names the method that each member runs: chat.message runs
        # chat_message. Never take the type from the client: it could then call any
        # method of the consumer.
        event = {"type": "chat.message", "frame": {"message": message}}
        await self.channel_layer.group_send(self.room_group, event)

    async def disconnect(self, code):
        """Leave the group. Code 1001: the tab was closed or left the page."""
        await self.channel_layer.group_discard(self.room_group, self.channel_name)
        logger.info("disconnect %s %s", self.scope["path"], code)

    async def chat_message(self, event):
        """Send an event of the group to this client."""
        await self.send_frame(event["frame"])

    async def send_frame(self, frame):
        """Send one frame to this client, as JSON."""
        await self.send(json.dumps(frame))
