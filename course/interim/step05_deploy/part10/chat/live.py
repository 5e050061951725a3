"""The rooms with sockets in this process: each message once, in order, without holes.

The channel layer may lose events or change their order. So a room knows the number of
the last message that it has handed out, and hands out only the next one. And the
process looks at the counters in the database: the last message may be lost too.
"""

import asyncio
import logging

from channels.layers import get_channel_layer

from .fanout import LAYER_TIMEOUT, Subscription, subscriptions
from .rooms import group_name
from .signals import EVERYBODY
from .storage import PAGE, read_after, read_seq, read_seqs

logger = logging.getLogger(__name__)

LATE = 0.05  # seconds in which a late event usually comes
SWEEP = 2  # seconds between two looks at the counters
SIGNED_OUT = 4001  # close code


class LiveRoom(Subscription):
    """A room, for as long as this process has sockets in it."""

    @classmethod
    async def join(cls, name):
        """Return the room, up to date. Raises ``DatabaseError``."""
        room = await cls.enter(group_name(name), name)
        try:
            if room.seq is None:
                # Subscribe first, then read: a message in between comes as an event.
                seq = await read_seq(name)
                if room.seq is None:
                    room.seq = seq
                    room.take([])
        except BaseException:
            await room.leave()
            raise
        return room

    def __init__(self, group, name):
        super().__init__(group)
        self.name = name
        self.seq = None  # the number of the last message that was handed out
        self.early = {}  # frames that came before their turn, by number
        self.filling = None
        self.unsent = []  # frames that the other processes have not been told
        self.sending = None

    def chat_messages(self, event):
        """Take messages that this or another process has stored."""
        self.take(event["frames"])

    def take(self, frames):
        """Hand out the frames whose turn it is. Keep early ones, and fill the hole."""
        for frame in frames:
            if self.seq is None or frame["seq"] > self.seq:
                self.early[frame["seq"]] = frame
        if self.seq is None:
            return  # ``join`` is reading the number
        while frame := self.early.pop(self.seq + 1, None):
            self.hand_out(frame)
            self.seq += 1
        if self.early:
            self.catch_up(max(self.early), LATE)

    def catch_up(self, newest, delay=0):
        """Read what is missing up to a number, unless that happens already."""
        if self.filling is None and self.seq is not None and self.seq < newest:
            self.filling = asyncio.create_task(self.fill(newest, delay))

    async def fill(self, newest, delay):
        """Hand out the messages up to a number, as the database has them."""
        try:
            await asyncio.sleep(delay)
            while self.seq < newest:
                frames = await read_after(self.name, self.seq, newest)
                for frame in frames:
                    if frame["seq"] > self.seq:  # the others came while we read
                        self.hand_out(frame)
                        self.seq = frame["seq"]
                if len(frames) < PAGE:
                    # That was all. The numbers that are missing were deleted.
                    self.seq = max(self.seq, newest)
        except Exception as error:
            logger.warning("a hole in %s stays open: %r", self.name, error)
            self.early.clear()  # the next sweep tries again
        finally:
            self.filling = None
        early, self.early = self.early.values(), {}
        self.take(early)

    def publish(self, frame):
        """Hand a stored message to the sockets here, and to the other processes.

        Nobody waits for the channel layer. If it fails, the other processes find the
        message in the database.
        """
        self.take([frame])
        self.unsent.append(frame)
        if self.sending is None:
            self.sending = asyncio.create_task(self.send_all())

    async def send_all(self):
        """Send the unsent frames to the group, a page at most in each event."""
        try:
            while self.unsent:
                frames, self.unsent = self.unsent[:PAGE], self.unsent[PAGE:]
                event = {"type": "chat.messages", "frames": frames}
                async with asyncio.timeout(LAYER_TIMEOUT):
                    await get_channel_layer().group_send(self.group, event)
        except Exception as error:
            self.unsent.clear()
            logger.warning("other processes do not hear %s: %r", self.name, error)
        finally:
            self.sending = None


class Process(Subscription):
    """Everything that the sockets of this process share, in all rooms."""

    @classmethod
    async def join(cls):
        """Return the one object of this process."""
        return await cls.enter(EVERYBODY)

    def __init__(self, group):
        super().__init__(group)
        self.sweeping = asyncio.create_task(self.sweep())

    async def leave(self, outbox=None):
        """Undo one ``join``. The last one also ends the sweep."""
        await super().leave(outbox)
        if self.ended:
            self.sweeping.cancel()

    def user_signed_out(self, event):
        """Close the sockets of a user: signals.py sends this event."""
        for outbox in self.outboxes:
            if outbox.user_id == event["user"]:
                outbox.close(SIGNED_OUT)

    async def sweep(self):
        """Compare the rooms with the counters in the database, again and again."""
        while True:
            await asyncio.sleep(SWEEP)
            here = subscriptions[asyncio.get_running_loop()].values()
            rooms = [each for each in here if isinstance(each, LiveRoom)]
            try:
                seqs = await read_seqs([room.name for room in rooms])
            except Exception as error:
                logger.warning("cannot compare with the database: %r", error)
                continue
            for room in rooms:
                room.catch_up(seqs.get(room.name, 0))
