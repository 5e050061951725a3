"""The rooms with sockets in this process: each message once and in order.

A lost event is noticed when the next one comes. The last one has no next. So the
process also compares its rooms with the counters in the database.
"""

import asyncio
import logging

from .fanout import Subscription, subscriptions
from .reader import RoomReader
from .signals import EVERYBODY
from .storage import read_seq, read_seqs

logger = logging.getLogger(__name__)

SWEEP = 2  # seconds between two looks at the counters
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
        """Hand out an event of the group, in order and without holes."""
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
        self.sweeping = asyncio.create_task(self.sweep())

    def leave(self, outbox=None):
        """Undo one ``join``. The last one also ends the sweep."""
        super().leave(outbox)
        if self.visitors == 0:
            self.sweeping.cancel()

    async def user_signed_out(self, event):
        """Close the sockets of a user: signals.py sends this event."""
        for outbox in self.outboxes:
            if outbox.user_id == event["user"]:
                outbox.close(SIGNED_OUT)

    async def sweep(self):
        """Compare the rooms with the counters in the database, again and again."""
        while True:
            await asyncio.sleep(SWEEP)
            here = subscriptions[asyncio.get_running_loop()].values()
            # A room that is still starting has no number yet.
            rooms = [each for each in here if isinstance(each, LiveRoom)]
            rooms = {room.name: room for room in rooms if room.ready.is_set()}
            try:
                for name, seq in (await read_seqs(list(rooms))).items():
                    if seq > rooms[name].reader.seq:
                        await rooms[name].handle({"type": "room.counted", "seq": seq})
            except Exception as error:
                logger.warning("cannot compare with the database: %r", error)
