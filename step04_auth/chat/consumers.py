"""The consumer: it is to a connection what a view is to a request."""

import json
import logging

from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth import get_user_model
from django.db import DatabaseError

from .models import Message
from .protocol import FrameError, parse_frame
from .rooms import group_name
from .sessions import read_session
from .signals import user_group

logger = logging.getLogger(__name__)

HISTORY = 50  # messages that a client gets when it joins a room
SIGNED_OUT = 4001  # close code; applications may use 4000 to 4999


class ChatConsumer(AsyncWebsocketConsumer):
    """Store each message of one user, and pass it on to everyone in the room.

    Takes ``{"message": "hi"}`` and sends ``{"message": "hi", "id": 7, "sent_at": "…",
    "username": "ann"}`` to each client in the room, the sender too. A client that
    joins first gets the last ``HISTORY`` messages as the same frames, oldest first. A
    frame that breaks the rules gets ``{"error": "…"}``, and the connection stays open.
    A client that is not signed in, or signs out while connected, is closed with
    ``SIGNED_OUT``.

    The consumer is asynchronous, because the channel layer's methods are. One thread
    serves all connections: while one consumer awaits, the others go on. Each consumer
    handles one event at a time, so ``chat_message`` cannot run while ``connect``
    awaits.
    """

    async def connect(self):
        """Refuse strangers. Join the room's group, accept, then send the history."""
        self.user = self.scope["user"]
        if not self.user.is_authenticated:
            await self.refuse()
            raise StopConsumer  # handle none of the frames that are on their way
        # Join the user's group first, then ask the database. The group hears of a
        # later sign-out. The database shows an earlier one.
        self.user_group = user_group(self.user.pk)
        await self.channel_layer.group_add(self.user_group, self.channel_name)
        if not await self.is_signed_in():
            await self.channel_layer.group_discard(self.user_group, self.channel_name)
            await self.refuse()
            raise StopConsumer
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        self.room_group = group_name(self.room_name)
        # A channel is this connection's mailbox, a group is a mailing list of
        # channels. Join before accepting: a client whose socket is open then misses
        # nothing.
        await self.channel_layer.group_add(self.room_group, self.channel_name)
        await self.accept()
        logger.info("connect %s", self.scope["path"])
        # Join first, then read: a message in between arrives twice, and chat_message
        # drops the copy. The other order would lose it.
        history = await self.read_history()
        self.sent_ids = {frame["id"] for frame in history}
        for frame in history:
            await self.send_frame(frame)

    async def refuse(self):
        """Close with a code that the browser sees.

        Without ``accept()``, closing is an HTTP 403, and the browser reports code
        1006.
        """
        await self.accept()
        await self.close(SIGNED_OUT)

    async def receive(self, text_data=None, bytes_data=None):
        """Store one message, then send it to the room's group.

        The other order could show a message that the database then fails to store.

        Channels passes one of the two parameters. Without ``bytes_data``, a binary
        frame raises TypeError.
        """
        try:
            message = parse_frame(text_data)
        except FrameError as error:
            # An exception that leaves a consumer ends the connection, so we catch it.
            await self.send_frame({"error": str(error)})
            return
        try:
            frame = await self.store(message)
        except DatabaseError:
            logger.exception("not stored %s", self.scope["path"])
            error = "The message was not stored. Send it again."
            await self.send_frame({"error": error})
            return
        # The type names the method that each member runs: chat.message runs
        # chat_message. Never take the type from the client: it could then call any
        # method of the consumer.
        event = {"type": "chat.message", "frame": frame}
        await self.channel_layer.group_send(self.room_group, event)

    async def disconnect(self, code):
        """Leave the groups. Code 1001: the tab was closed or left the page."""
        await self.channel_layer.group_discard(self.room_group, self.channel_name)
        await self.channel_layer.group_discard(self.user_group, self.channel_name)
        logger.info("disconnect %s %s", self.scope["path"], code)

    async def chat_message(self, event):
        """Send an event of the group to this client, unless the history had it."""
        if event["frame"].get("id") not in self.sent_ids:
            await self.send_frame(event["frame"])

    async def send_frame(self, frame):
        """Send one frame to this client, as JSON."""
        await self.send(json.dumps(frame))

    async def user_signed_out(self, event):
        """Close this socket: signals.py sends this event to the user's group."""
        await self.leave(SIGNED_OUT)
        raise StopConsumer  # handle none of the frames that are on their way

    async def leave(self, code):
        """Leave the groups, and close the socket."""
        await self.disconnect(code)
        await self.close(code)

    # The ORM waits for the database. Async code must not wait: it would hold up all
    # connections of the process. So these methods run in a thread, and we await the
    # thread.

    @database_sync_to_async
    def is_signed_in(self):
        """Return whether the user is still active, and the session still theirs.

        The scope cannot tell: its session was read once, at the handshake.
        """
        session = self.scope["session"]
        if session is None:  # the client got a token with a password
            users = get_user_model().objects.filter(is_active=True)
            return users.filter(pk=self.user.pk).exists()
        _, user = read_session(session.session_key)
        return user == self.user

    @database_sync_to_async
    def read_history(self):
        """Return the room's last messages as frames, oldest first."""
        # select_related: read the users too, in the same query, for as_frame.
        messages = Message.objects.select_related("user").filter(room=self.room_name)
        newest = messages.order_by("-id")[:HISTORY]
        return [message.as_frame() for message in reversed(newest)]

    @database_sync_to_async
    def store(self, text):
        """Store one message of this room, and return it as a frame."""
        message = Message.objects.create(
            room=self.room_name, user=self.user, text=text
        )
        return message.as_frame()
