"""The consumer: it is to a connection what a view is to a request."""

import json
import logging

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth import get_user_model
from django.db import DatabaseError

from .fanout import encode
from .limits import MAX_SOCKETS, Person
from .live import SIGNED_OUT, LiveRoom, Process
from .middleware import read_query, read_session
from .outbox import TOO_SLOW, Outbox
from .protocol import FrameError, parse_frame
from .storage import PAGE, read_after, read_history, store
from .threads import in_a_thread

logger = logging.getLogger(__name__)

RETRY = 2  # seconds after which a client sends again what was not stored
FLOODING = 4008  # close code: the client sends without end, or has too many sockets


class ChatConsumer(AsyncWebsocketConsumer):
    """Store each message of one user, and pass it on to everyone in the room.

    Takes ``{"message": "hi", "client_id": "…"}`` and sends ``{"message": "hi", "id":
    7, "seq": 3, "sent_at": "…", "username": "ann", "client_id": "…"}`` to each client
    in the room, the sender too. A client that joins first gets the last 50 messages as
    the same frames, oldest first; with ``?after=<seq>`` all messages after that
    number. Then comes ``{"caught_up": 3}``: all messages up to that number were sent.
    On each connection the numbers come in order, without holes (deleted messages
    aside). A frame that breaks the rules gets ``{"error": "…"}``, and the connection
    stays open. A client that is not signed in, or signs out while connected, is closed
    with ``SIGNED_OUT``.

    The consumer is no member of a group. It joins the ``LiveRoom`` of this process,
    which puts each message into its outbox.
    """

    channel_layer_alias = None  # no channel for each socket

    async def __call__(self, scope, receive, send):
        """Handle one connection, and leave the room however the connection ends."""
        self.outbox = Outbox(send, scope["user"].pk)
        self.process = self.room = None
        try:
            await super().__call__(scope, receive, self.outbox.send)
        finally:
            for subscription in [self.room, self.process]:
                if subscription:
                    await subscription.leave(self.outbox)
            await self.outbox.flush()

    async def connect(self):
        """Refuse strangers. Join the room, accept, then send the history."""
        self.user = self.scope["user"]
        query = read_query(self.scope)
        # A page that connects again names its user. Somebody else may have signed in
        # with the same browser since then, and must not get that page's conversation.
        belongs_to = query.get("as", self.user.get_username())
        if not self.user.is_authenticated or belongs_to != self.user.get_username():
            await self.refuse()
            raise StopConsumer  # handle none of the frames that are on their way
        self.person = Person.of(self.user)
        self.person.consumers.add(self)
        if len(self.person.consumers) > MAX_SOCKETS:
            await self.accept()
            error = f"You have {MAX_SOCKETS} connections open. Close some of them."
            await self.send(json.dumps({"error": error}))
            await self.close(FLOODING)
            raise StopConsumer
        # Join the process first, then ask the database. A sign-out after that is sent
        # to the process; a sign-out before it is seen in the database.
        self.process = await Process.join()
        self.process.outboxes.add(self.outbox)
        if not await self.is_signed_in():
            await self.refuse()
            raise StopConsumer
        try:
            room_name = self.scope["url_route"]["kwargs"]["room_name"]
            self.room = await LiveRoom.join(room_name)
            await self.accept()
            logger.info("connect %s", self.scope["path"])
            await self.catch_up(query.get("after", ""))
        except DatabaseError:
            logger.exception("no history %s", self.scope["path"])
            if self.room is None:
                await (
                    self.accept()
                )  # a browser sees the code of an accepted socket only
            await self.close(TOO_SLOW)
            raise StopConsumer from None

    async def refuse(self):
        """Close with a code that the browser sees.

        Without ``accept()``, closing is an HTTP 403, and the browser reports code
        1006.
        """
        await self.accept()
        await self.close(SIGNED_OUT)

    async def catch_up(self, after):
        """Send the messages after a number, or the history; then ``caught_up``."""
        newest = self.room.seq
        if after.isdecimal():
            seq = min(int(after[:18]), newest)
        else:
            for frame in await read_history(self.room.name, newest):
                self.outbox.put(encode(frame))
            seq = newest
        while seq < self.room.seq and not self.outbox.closed:
            newest = self.room.seq  # read this page up to here: the number grows
            frames = await read_after(self.room.name, seq, newest)
            for frame in frames:
                self.outbox.put(encode(frame))
            # Keep one page in memory, however much was missed.
            await self.outbox.flush()
            # Less than a page is the end. The numbers that are missing were deleted.
            seq = frames[-1]["seq"] if len(frames) == PAGE else newest
        # No ``await`` since the comparison: the next message of the room is our next.
        self.outbox.put(encode({"caught_up": seq}))
        self.room.outboxes.add(self.outbox)

    async def receive(self, text_data=None, bytes_data=None):
        """Store one message, then publish it in the room.

        The other order could show a message that the database then fails to store.

        Channels passes one of the two parameters. Without ``bytes_data``, a binary
        frame raises TypeError.
        """
        if self.outbox.closed:
            raise StopConsumer
        client_id = None
        # Bad frames have a limit of their own: they do not use up the messages' turns.
        limit = self.person.mistakes
        try:
            message, client_id = parse_frame(text_data)
            limit = self.person.messages
            if wait := limit.wait():
                error = "Too many messages at once. Wait a moment."
                raise FrameError(error, client_id, wait)
            frame, is_new = await store(self.room.name, self.user, message, client_id)
        except FrameError as error:
            # An exception that leaves a consumer ends the connection, so we catch it.
            await self.send(json.dumps(error.as_frame()))
            if limit is self.person.mistakes:
                limit.wait()
            if limit.is_flooded:
                await self.close(FLOODING)
                raise StopConsumer from None
            return
        except DatabaseError:
            logger.exception("not stored %s", self.scope["path"])
            text = "The message was not stored. Send it again."
            error = FrameError(text, client_id, RETRY)
            await self.send(json.dumps(error.as_frame()))
            return
        if not is_new and frame["seq"] <= self.room.seq:
            # The client sent the message again, because it did not get the answer.
            self.outbox.put(encode(frame))
        # Also a message that is not new: the process that stored it may have died
        # before it told anyone.
        self.room.publish(frame)

    async def disconnect(self, code):
        """Log that the client has gone. 1001: its tab was closed or left the page."""
        logger.info("disconnect %s %s", self.scope["path"], code)

    # The ORM waits for the database. Async code must not wait: it would hold up all
    # connections of the process. So these methods run in a thread, and we await the
    # thread.

    @in_a_thread
    def is_signed_in(self):
        """Return whether the user is still active, and the session still theirs.

        The scope cannot tell: its session was read once, at the handshake.
        """
        session = self.scope.get("session")
        if session is None:  # the client came with a token
            users = get_user_model().objects.filter(is_active=True)
            return users.filter(pk=self.user.pk).exists()
        _, user = read_session(session.session_key)
        return user == self.user
