"""The rooms with sockets in this process: each message once and in order.

The last event may be lost, and none follows that would show it. So the process also
compares its rooms with the database, and asks whether the people may still be there.
"""

import asyncio
import logging
import math
import time
from contextlib import suppress

from django.db import InterfaceError, OperationalError

from .fanout import Subscription, subscriptions
from .reader import RoomReader
from .sessions import may_stay
from .signals import EVERYBODY
from .storage import read_seq, read_seqs

logger = logging.getLogger(__name__)

SWEEP = 2  # seconds between two looks at the counters
ASK = 30  # seconds between two looks at the people
SIGNED_OUT = 4001  # close code


class LiveRoom(Subscription):
    """A room, for as long as this process has sockets in it."""

    def __init__(self, group, name):
        super().__init__(group)
        self.name = name
        self.reader = RoomReader(name, self.hand_out)

    async def subscribed(self):
        """Read the counter. Subscribe first: a message after that is an event."""
        self.reader.seq = await read_seq(self.name)

    async def chat_message(self, event):
        """Hand out an event in order. Without the database, the sweep fills a hole."""
        with suppress(OperationalError, InterfaceError):
            await self.reader.take(event["frame"])

    async def room_counted(self, event):
        """Read what was lost, up to the counter in the database."""
        while self.reader.seq < event["seq"]:
            await self.reader.read_page(event["seq"])


class Process(Subscription):
    """Everything that the sockets of this process share, in all rooms."""

    @classmethod
    async def join(cls):
        """Return the one object of this process."""
        return await cls.enter(EVERYBODY)

    def __init__(self, group):
        super().__init__(group)
        self.heard_at = math.inf  # when it last heard of a sign-out, or began to
        self.sweeping = asyncio.create_task(self.sweep())

    def leave(self, outbox=None):
        """Undo one ``join``. The last one also ends the sweep."""
        super().leave(outbox)
        if self.visitors == 0:
            self.sweeping.cancel()

    async def subscribed(self):
        """From now on the process hears of sign-outs."""
        self.heard_at = time.monotonic()

    async def user_signed_out(self, event):
        """Close the sockets of a user: signals.py sends this event."""
        self.heard_at = time.monotonic()
        for outbox in self.outboxes:
            if outbox.scope["user"].pk == event["user"]:
                outbox.close(SIGNED_OUT)

    async def sweep(self):
        """Ask the database, again and again, for what no event has told us."""
        asked_at = time.monotonic()
        while True:
            await asyncio.sleep(SWEEP)
            try:
                await self.compare_rooms()
                if time.monotonic() > asked_at + ASK:
                    await self.ask_about_people()
                    asked_at = time.monotonic()
            except Exception as error:
                logger.warning("cannot compare with the database: %r", error)

    async def compare_rooms(self):
        """Compare the rooms with their counters: one query for all."""
        here = subscriptions[asyncio.get_running_loop()].values()
        # A room that is still starting has no number yet.
        rooms = [each for each in here if isinstance(each, LiveRoom)]
        rooms = {room.name: room for room in rooms if room.ready.is_set()}
        for name, seq in (await read_seqs(list(rooms))).items():
            if seq > rooms[name].reader.seq:
                await rooms[name].handle({"type": "room.counted", "seq": seq})

    async def ask_about_people(self):
        """Close the sockets of those who are no longer signed in."""
        outboxes = list(self.outboxes)
        answers = await may_stay([outbox.scope for outbox in outboxes])
        for outbox, may_it_stay in zip(outboxes, answers, strict=True):
            if not may_it_stay:
                outbox.close(SIGNED_OUT)
