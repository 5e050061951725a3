"""What happens on a socket: a consumer is to a conversation what a view is to a request."""

import logging

from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError, connection

from .fanout import encode
from .limits import RateLimit
from .live import Process, Room
from .middleware import read_query
from .outbox import Outbox
from .protocol import FLOODING, RESTARTING, SIGNED_OUT, TOO_SLOW, FrameError, parse_frame
from .store import Draft, read_after
from .threads import in_a_thread

logger = logging.getLogger(__name__)

HISTORY = 50  # messages that somebody who joins a room is shown
RETRY = 2  # seconds after which a message that was not stored may be sent again


class ChatConsumer(AsyncWebsocketConsumer):
    """Store each message of one user, and pass it on to everyone in the room.

    Takes ``{"message": "hi", "client_id": "…"}`` and sends ``{"message": "hi", "id": 7, "seq": 3,
    "sent_at": "…", "username": "ann", "client_id": "…"}`` to each client in the room, the sender
    too. Whoever joins gets the last ``HISTORY`` messages first, oldest first, as the same frames;
    with ``?after=<seq>`` everything after that one. A frame that breaks the rules gets
    ``{"error": "…"}``, and the conversation goes on. Strangers, and users who sign out, are
    closed with ``SIGNED_OUT``.
    """

    # No channel for each socket: what a room hears comes by way of live.Room.
    channel_layer_alias = None

    async def __call__(self, scope, receive, send):
        """Handle one connection, and leave nothing behind however it ends."""
        self.outbox = Outbox(send, scope["user"].pk)
        self.messages, self.mistakes = RateLimit(), RateLimit()
        self.process = self.room = None
        try:
            await super().__call__(scope, receive, send)
        finally:
            for subscription in [self.room, self.process]:
                if subscription:
                    await subscription.leave(self.outbox)

    async def dispatch(self, message):
        """Call the method for an event of the server's.

        Channels passes through the thread that everybody shares first, to close old connections
        to the database. ``in_a_thread`` does that where they are used.
        """
        await getattr(self, get_handler_name(message))(message)

    async def websocket_disconnect(self, message):
        """End the conversation; Channels would visit the shared thread here as well."""
        await self.disconnect(message["code"])
        raise StopConsumer

    async def connect(self):
        """Welcome the client, and show it what was said before; from then on it is in the room."""
        self.user = self.scope["user"]
        self.process = await Process.join()
        self.process.sockets.add(self.outbox)
        try:
            if self.process.stopping:
                await self.end(RESTARTING)
            query = read_query(self.scope)
            # A page that comes back says whose it is: somebody else may have signed in meanwhile,
            # in the same browser, and what it has still to send is not theirs.
            if query.get("as", self.user.get_username()) != self.user.get_username():
                await self.end(SIGNED_OUT)
            if not await self.is_signed_in():
                await self.end(SIGNED_OUT)
            self.room = await Room.join(self.scope["url_route"]["kwargs"]["room_name"])
            self.outbox.accept()
            logger.info("connect %s", self.scope["path"])
            await self.catch_up(query.get("after", ""))
        except DatabaseError:
            logger.exception("not joined %s", self.scope["path"])
            await self.end(TOO_SLOW)

    async def catch_up(self, after):
        """Send what the client has missed, page by page; then what is said from now on."""
        seq = int(after[:18]) if after.isdecimal() else max(self.room.seq - HISTORY, 0)
        # Who has left in the middle of it misses nothing any more.
        while seq < self.room.seq and not self.outbox.closed:
            frames = await read_after(self.room.name, seq, until=self.room.seq)
            for frame in frames:
                self.outbox.put(encode(frame))
            await self.outbox.empty()  # memory holds one page, however much was missed
            seq = frames[-1]["seq"] if frames else self.room.seq
        # Nothing has been awaited since the comparison: what the room hands out next is next.
        self.room.sockets.add(self.outbox)

    async def receive(self, text_data=None, bytes_data=None):
        """Store one message; the room hears it when it is stored.

        Both parameters are needed: a binary frame would end in a TypeError without the second.
        """
        if self.outbox.closed:
            await self.end(None)
        # Counted apart: whoever makes mistakes has not used up the next message's turn.
        limit, client_id = self.mistakes, None
        try:
            message, client_id = parse_frame(text_data)
            limit = self.messages
            if wait := limit.wait():
                raise FrameError("Too many messages at once. Wait a moment.", client_id, wait)
            frame, is_new = await self.room.store(Draft(self.user, message, client_id))
        except FrameError as error:
            # Caught here, because an exception that leaves a consumer ends the connection.
            if limit is self.mistakes:
                limit.wait()
            if limit.flooded:
                self.outbox.close(FLOODING)
            self.outbox.put(encode(error.as_frame()))
        except DatabaseError:
            logger.exception("not stored %s", self.scope["path"])
            error = FrameError("The message was not stored. Send it again.", client_id, RETRY)
            self.outbox.put(encode(error.as_frame()))
        else:
            if not is_new:
                self.answer_again(frame)

    def answer_again(self, frame):
        """Tell the sender of a message that was stored before; the room has heard it."""
        if frame["seq"] <= self.room.seq:
            self.outbox.put(encode(frame))
        else:
            self.room.take([frame])  # its process died before anybody was told

    async def disconnect(self, code):
        """Note that the client has gone. 1001: the tab was closed or left the page."""
        logger.info("disconnect %s %s", self.scope["path"], code)

    async def end(self, code):
        """Close this socket, and look at nothing that its client sends."""
        self.outbox.close(code)
        if not self.outbox.accepted:
            self.outbox.accept()
        await self.outbox.empty()
        raise StopConsumer

    @in_a_thread
    def is_signed_in(self):
        """Return whether there still is an active user, and their session, if it came with one.

        Sign-out tells the sockets of this process: one that was still connecting was not among
        them.
        """
        session = self.scope.get("session")  # none with a token
        with connection.cursor() as cursor:
            # Everybody who joins asks this. The ORM takes ten times as long, to find the words.
            cursor.execute(
                "SELECT 1 FROM auth_user WHERE id = %s AND is_active AND (%s OR EXISTS "
                "(SELECT 1 FROM django_session WHERE session_key = %s))",
                [self.user.pk, session is None, session and session.session_key],
            )
            return cursor.fetchone() is not None
