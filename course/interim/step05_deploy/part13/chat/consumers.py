"""The consumer: it is to a connection what a view is to a request."""

import logging

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth import get_user_model
from django.db import DatabaseError

from .limits import MAX_SOCKETS, Person
from .live import SIGNED_OUT, LiveRoom, Process
from .middleware import read_query
from .outbox import TOO_SLOW, Outbox, encode
from .protocol import FrameError, parse_frame
from .reader import RoomReader
from .rooms import group_name
from .sessions import read_session
from .storage import Draft, read_history, read_seq
from .threads import in_a_thread

logger = logging.getLogger(__name__)

RETRY = 2  # seconds after which a client sends again what was not stored
FLOODING = 4008  # the client sends without end, or has too many sockets


class ChatConsumer(AsyncWebsocketConsumer):
    """Store each message of one user, and pass it on to everyone in the room.

    Takes ``{"message": "hi", "client_id": "…"}`` and sends ``{"message": "hi", "id":
    7, "sent_at": "…", "username": "ann", "seq": 3, "client_id": "…"}`` to each client
    in the room, the sender too. On joining, a client gets the last 50 messages as
    the same frames, oldest first. A frame that breaks the rules gets ``{"error":
    "…"}``, and the connection stays open. A client that is not signed in, or signs out
    while connected, is closed with ``SIGNED_OUT``.

    With ``?after=<seq>`` a client gets all messages after that number instead. Then
    comes ``{"caught_up": 3}``: the client has all messages up to number 3.

    The consumer is no member of a group: the ``LiveRoom`` fills its outbox.
    """

    channel_layer_alias = None  # a socket needs no channel of its own

    async def __call__(self, scope, receive, send):
        """Handle one connection, and leave the room however the connection ends."""
        self.person = Person.of(scope["user"])
        self.outbox = Outbox(send, scope)
        self.process = self.room = None
        try:
            await super().__call__(scope, receive, self.outbox.send)
        except DatabaseError:
            logger.exception("cannot read %s", scope["path"])
            self.outbox.close(TOO_SLOW)  # the client comes back, and asks again
        finally:
            self.person.consumers.discard(self)
            for subscription in [self.room, self.process]:
                if subscription:
                    subscription.leave(self.outbox)
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
        self.person.consumers.add(self)
        if len(self.person.consumers) > MAX_SOCKETS:
            await self.accept()
            error = f"You have {MAX_SOCKETS} connections open. Close some of them."
            await self.send_frame({"error": error})
            await self.close(FLOODING)
            raise StopConsumer
        # From here on the process tells us of a sign-out. If it has heard of one since
        # the session was read, ask the database again.
        self.process = await Process.join()
        self.process.outboxes.add(self.outbox)
        is_fresh = self.scope.get("opened_at", 0) > self.process.heard_at
        if not is_fresh and not await self.is_signed_in():
            await self.refuse()
            raise StopConsumer
        name = self.scope["url_route"]["kwargs"]["room_name"]
        self.room = await LiveRoom.enter(group_name(name), name)
        await self.accept()
        logger.info("connect %s", self.scope["path"])
        await self.catch_up(query.get("after", ""))

    async def refuse(self):
        """Close with a code that the browser sees.

        Without ``accept()``, closing is an HTTP 403, and the browser reports code
        1006.
        """
        await self.accept()
        await self.close(SIGNED_OUT)

    async def catch_up(self, after):
        """Send the messages after a number, or the history; then ``caught_up``."""
        if self.room.ended or self.process.ended:
            return self.outbox.close(TOO_SLOW)
        reader = RoomReader(self.room.name, self.send_frame)
        if after.isdecimal():
            newest = await read_seq(self.room.name)
            reader.seq = min(int(after[:18]), newest)  # 18 digits: a database integer
        else:
            newest = 0
            for frame in await read_history(self.room.name):
                await self.send_frame(frame)
                newest = frame["seq"]
            reader.seq = newest
        # Other processes may have stored messages that this one was not told of yet.
        await self.room.handle({"type": "room.counted", "seq": newest})
        while reader.seq < self.room.reader.seq and not self.outbox.closed:
            async with self.person.reading:
                await reader.read_page(self.room.reader.seq)
            await self.outbox.flush()  # one page in memory, however many there are
        # Nothing has waited since the comparison: the room's next message is our next.
        await self.send_frame({"caught_up": reader.seq})
        self.room.outboxes.add(self.outbox)
        if self.room.ended:
            self.outbox.close(TOO_SLOW)

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
            if seconds := limit.count():
                facts = {"client_id": client_id, "retry_after": seconds}
                raise FrameError("Too many messages at once. Wait a moment.", **facts)
            draft = Draft(self.room.name, self.user, message, client_id)
            frame, is_new = await self.process.writer.store(draft)
        except FrameError as error:
            # An exception that leaves a consumer ends the connection, so we catch it.
            await self.send_frame(error.as_frame())
            if limit is self.person.mistakes:
                limit.count()
            if limit.is_flooded:
                await self.close(FLOODING)
                raise StopConsumer from None
            return
        except DatabaseError:
            logger.exception("not stored %s", self.scope["path"])
            facts = {"client_id": client_id, "retry_after": RETRY}
            error = FrameError("The message was not stored. Send it again.", **facts)
            await self.send_frame(error.as_frame())
            return
        if not is_new and frame["seq"] <= self.room.reader.seq:
            # The client sent it again, because it did not get the answer.
            await self.send_frame(frame)
        await self.room.publish(frame)

    async def disconnect(self, code):
        """Log that the client has gone. 1001: its tab was closed or left the page."""
        logger.info("disconnect %s %s", self.scope["path"], code)

    async def send_frame(self, frame):
        """Send one frame to this client, as JSON."""
        self.outbox.put(encode(frame))

    @in_a_thread
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
