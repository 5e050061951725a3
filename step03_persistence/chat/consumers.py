"""What happens on a socket: a consumer is to a conversation what a view is to a request."""

import json
import logging

from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError

from .models import Message
from .protocol import FrameError, parse_frame
from .rooms import group_name
from .threads import in_a_thread

logger = logging.getLogger(__name__)

HISTORY = 50  # messages that somebody who joins a room is shown


class ChatConsumer(AsyncWebsocketConsumer):
    """Store each message of one client, and pass it on to everyone in its room.

    Takes ``{"message": "hi"}`` and sends ``{"message": "hi", "id": 7, "sent_at": "…"}`` to each
    client in the room, the sender too; whoever joins gets the last ``HISTORY`` messages first,
    oldest first, as the same frames. A frame that breaks the rules gets ``{"error": "…"}``,
    and the conversation goes on.
    """

    async def connect(self):
        """Join the room's group, welcome the client, and show it what was said before."""
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        self.room_group = group_name(self.room_name)
        # A group is a mailing list; this connection's own channel is the mailbox on it.
        await self.channel_layer.group_add(self.room_group, self.channel_name)
        await self.accept()
        logger.info("connect %s", self.scope["path"])
        # Join, then read: a message stored in between comes both ways, and is shown once. Read,
        # then join: it would come neither way.
        history = await self.read_history()
        self.shown = {frame["id"] for frame in history}
        for frame in history:
            await self.send(json.dumps(frame))

    async def receive(self, text_data=None, bytes_data=None):
        """Store one message, then send it to the room, never the other way round.

        Both parameters are needed: a binary frame would end in a TypeError without the second.
        """
        try:
            message = parse_frame(text_data)
        except FrameError as error:
            # Caught here, because an exception that leaves a consumer ends the connection.
            await self.send(json.dumps({"error": str(error)}))
            return
        try:
            frame = await self.store(message)
        except DatabaseError:
            logger.exception("not stored %s", self.scope["path"])
            await self.send(json.dumps({"error": "The message was not stored. Send it again."}))
            return
        # The type names the method that each member runs: chat.message is chat_message. It is
        # ours alone: a client that could choose it could call any method of everybody's consumer.
        event = {"type": "chat.message", "frame": frame}
        await self.channel_layer.group_send(self.room_group, event)

    async def disconnect(self, code):
        """Leave the group. 1001: the tab was closed or left the page."""
        await self.channel_layer.group_discard(self.room_group, self.channel_name)
        logger.info("disconnect %s %s", self.scope["path"], code)

    async def chat_message(self, event):
        """Hand an event from the group to this client."""
        if event["frame"].get("id") in self.shown:
            return  # it came with the history
        await self.send(json.dumps(event["frame"]))

    @in_a_thread
    def read_history(self):
        """Return the room's last messages as frames, oldest first."""
        newest = Message.objects.filter(room=self.room_name).order_by("-id")[:HISTORY]
        return [message.as_frame() for message in reversed(newest)]

    async def store(self, text):
        """Store one message of this room, and return it as a frame."""
        message = await in_a_thread(Message.objects.create)(room=self.room_name, text=text)
        return message.as_frame()
