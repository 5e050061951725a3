"""The rooms in which this process has sockets: each message once, in order, without holes.

What comes through the channel layer may be lost, or overtaken. So a room here knows the number of
the last message it has handed out, and takes only the next. What does not come is read from the
database: at once when a later one shows that it is missing, else within ``SWEEP`` seconds.
"""

import asyncio
import logging
from collections import deque

from channels.layers import get_channel_layer

from .fanout import PATIENCE, Subscription, subscriptions
from .protocol import SIGNED_OUT
from .rooms import group_name
from .signals import EVERYBODY
from .stopping import stop_gently
from .store import PAGE, read_after, read_counters, store
from .threads import in_a_thread

logger = logging.getLogger(__name__)

OVERTAKING = 0.05  # seconds in which a message that was overtaken comes by itself
SWEEP = 2  # seconds between two looks at the counters
BATCH = 50  # messages stored in one transaction
UNSENT = 1000  # batches that may wait for the channel layer


class Room(Subscription):
    """A room, as long as this process has sockets in it."""

    @classmethod
    async def join(cls, name):
        """Return the room of that name, up to date. Raises ``DatabaseError`` if that is gone."""
        room = await cls.enter(group_name(name), name)
        try:
            if room.seq is None:
                # Subscribe, then read: what is stored in between comes by subscription.
                seq = (await read_counters([name])).get(name, 0)
                if room.seq is None:
                    room.seq = seq
                    room.take([])
        except BaseException:
            await room.leave()
            raise
        return room

    def __init__(self, group, name):
        """Start with nothing known."""
        super().__init__(group)
        self.name = name
        self.seq = None  # the number of the last message that was handed out
        self.early = {}  # frames that came before their turn, by number
        self.filling = None
        self.drafts = []  # what waits to be stored, each with the future of its sender
        self.storing = None
        self.unsent = deque(maxlen=UNSENT)
        self.sending = None

    # Messages that come

    def chat_stored(self, event):
        """Take messages that were stored here or in another process."""
        self.take(event["frames"])

    def take(self, frames):
        """Hand out what is next; keep what came before its turn, and fill the hole."""
        for frame in frames:
            if self.seq is None or frame["seq"] > self.seq:
                self.early[frame["seq"]] = frame
        if self.seq is None:
            return
        while frame := self.early.pop(self.seq + 1, None):
            self.hand_out(frame)
            self.seq += 1
        if len(self.early) > PAGE:
            self.early.clear()  # the database has them all
            self.fill()
        elif self.early:
            self.fill(OVERTAKING)

    def fill(self, delay=0):
        """Read what is missing from the database, if nobody does so already."""
        if self.filling is None:
            self.filling = asyncio.create_task(self.read_missing(delay))

    async def read_missing(self, delay):
        """Hand out everything in the database that this room does not know yet."""
        try:
            await asyncio.sleep(delay)
            while frames := await read_after(self.name, self.seq, None):
                for frame in frames:
                    if frame["seq"] > self.seq:  # the others have come meanwhile
                        self.hand_out(frame)
                        self.seq = frame["seq"]
            self.early = {seq: frame for seq, frame in self.early.items() if seq > self.seq}
            self.take([])
        except Exception as error:
            logger.warning("%s waits for what it has missed: %r", self.name, error)
        finally:
            self.filling = None

    # Messages that go

    def store(self, draft):
        """Return a future of the draft's frame, and whether it is new.

        Whatever comes while a transaction runs goes into the next one, all together: a busy room
        stores ten messages for the price of two, and a quiet one does not wait.
        """
        future = asyncio.get_running_loop().create_future()
        self.drafts.append((draft, future))
        if self.storing is None:
            self.storing = asyncio.create_task(self.store_all())
        return future

    async def store_all(self):
        """Store until no draft is left, and tell the room and each sender."""
        while self.drafts:
            batch, self.drafts = self.drafts[:BATCH], self.drafts[BATCH:]
            try:
                results = await in_a_thread(store)(self.name, [draft for draft, _ in batch])
            except Exception as error:
                # Without the database, those that wait would get the same answer, much later.
                batch, self.drafts = batch + self.drafts, []
                results = [error] * len(batch)
            stored = [result for result in results if not isinstance(result, Exception)]
            self.publish([frame for frame, is_new in stored if is_new])
            for (_, future), result in zip(batch, results, strict=True):
                if future.done():
                    pass  # its sender has gone
                elif isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
        self.storing = None

    def publish(self, frames):
        """Hand new messages to the sockets here, and to the other processes.

        Nobody waits for the channel layer. If it does not take them, the other processes find
        them in the database.
        """
        if frames:
            self.unsent.append({"type": "chat.stored", "frames": frames})
            self.take(frames)
            if self.sending is None:
                self.sending = asyncio.create_task(self.send_all())

    async def send_all(self):
        """Send to the other processes until nothing is left."""
        layer = get_channel_layer()
        try:
            while self.unsent:
                event = self.unsent.popleft()
                async with asyncio.timeout(PATIENCE):
                    await layer.group_send(self.group, event)
        except Exception as error:
            self.unsent.clear()
            logger.warning("%s is not told what is new: %r", self.name, error)
        finally:
            self.sending = None


class Process(Subscription):
    """What all sockets of this process share, whatever their room."""

    @classmethod
    async def join(cls):
        """Return the one of this process."""
        return await cls.enter(EVERYBODY)

    def __init__(self, group):
        """Begin to look after the rooms, and to listen for a stop signal."""
        super().__init__(group)
        self.stopping = False
        self.forget_signals = stop_gently(self)
        self.sweeping = asyncio.create_task(self.sweep())

    async def leave(self, outbox=None):
        """Give up one ``join``; the last one ends it all."""
        await super().leave(outbox)
        if self.ended:
            self.sweeping.cancel()
            self.forget_signals()

    def signed_out(self, event):
        """Close the sockets of a user who may no longer speak."""
        for socket in self.sockets:
            if socket.user_id == event["user"]:
                socket.close(SIGNED_OUT)

    @property
    def rooms(self):
        """The rooms in which this process has sockets."""
        here = subscriptions[asyncio.get_running_loop()]
        return [each for each in here.values() if isinstance(each, Room)]

    async def sweep(self):
        """Compare the rooms with the database, time and again: what was lost is found here."""
        while True:
            await asyncio.sleep(SWEEP)
            rooms = [room for room in self.rooms if room.seq is not None]
            try:
                counters = await read_counters([room.name for room in rooms])
            except Exception as error:
                logger.warning("cannot compare with the database: %r", error)
                continue
            for room in rooms:
                if counters.get(room.name, 0) > room.seq:
                    room.fill()
