"""What happens on a socket: a consumer is to a conversation what a view is to a request."""

import json
import logging

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth import get_user_model
from django.db import DatabaseError

from .models import Message
from .protocol import FrameError, parse_frame
from .rooms import group_name
from .signals import user_group
from .threads import in_a_thread

logger = logging.getLogger(__name__)

HISTORY = 50  # messages that somebody who joins a room is shown
SIGNED_OUT = 4001  # close code: not signed in, or no longer; 4000 to 4999 are for applications


class ChatConsumer(AsyncWebsocketConsumer):
    """Store each message of one user, and pass it on to everyone in the room.

    Takes ``{"message": "hi"}`` and sends ``{"message": "hi", "id": 7, "sent_at": "…",
    "username": "ann"}`` to each client in the room, the sender too; whoever joins gets the last
    ``HISTORY`` messages first, oldest first, as the same frames. A frame that breaks the rules
    gets ``{"error": "…"}``, and the conversation goes on. Strangers, and users who sign out, are
    closed with ``SIGNED_OUT``.
    """

    async def connect(self):
        """Join the room's group, welcome the client, and show it what was said before."""
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        self.room_group = group_name(self.room_name)
        self.user = self.scope["user"]
        self.user_group = user_group(self.user.pk)
        await self.channel_layer.group_add(self.user_group, self.channel_name)
        if not await self.is_signed_in():
            await self.accept()  # a browser is told the close code of an open socket only
            await self.signed_out()
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
        await self.channel_layer.group_discard(self.user_group, self.channel_name)
        logger.info("disconnect %s %s", self.scope["path"], code)

    async def chat_message(self, event):
        """Hand an event from the group to this client."""
        if event["frame"].get("id") in self.shown:
            return  # it came with the history
        await self.send(json.dumps(event["frame"]))

    async def signed_out(self, event=None):
        """Close this socket, and look at nothing more that its client sends."""
        await self.disconnect(SIGNED_OUT)
        await self.close(SIGNED_OUT)
        raise StopConsumer

    @in_a_thread
    def is_signed_in(self):
        """Return whether there still is an active user, and their session, if it came with one.

        Sign-out tells the sockets in the user's group: one that was still connecting was not in it.
        """
        session = self.scope.get("session")  # none with a token
        if session is not None and not session.exists(session.session_key):
            return False
        return get_user_model().objects.filter(pk=self.user.pk, is_active=True).exists()

    @in_a_thread
    def read_history(self):
        """Return the room's last messages as frames, oldest first."""
        messages = Message.objects.select_related("user").filter(room=self.room_name)
        newest = messages.order_by("-id")[:HISTORY]
        return [message.as_frame() for message in reversed(newest)]

    async def store(self, text):
        """Store one message of this room, and return it as a frame."""
        message = await in_a_thread(Message.objects.create)(
            room=self.room_name, user=self.user, text=text
        )
        return message.as_frame()
