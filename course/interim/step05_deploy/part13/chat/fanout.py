"""Fan-out once per process: one subscription for all sockets of a group.

When every socket is a member, each message costs a task and two queues per socket.
Here the process is the member: each message comes once and is encoded once.
"""

import asyncio
import logging
from contextlib import suppress
from weakref import WeakKeyDictionary

from channels.consumer import get_handler_name
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from .outbox import TOO_SLOW, encode

logger = logging.getLogger(__name__)

LAYER_TIMEOUT = 2  # seconds for an answer of the channel layer, or until the next try

# The subscriptions by group. A server has one event loop; each test has its own.
subscriptions = WeakKeyDictionary()


class Subscription:
    """The events of one group, for all sockets of this process that have entered."""

    def __init__(self, group):
        self.group = group
        self.visitors = 0  # sockets that have entered
        self.outboxes = set()  # of the sockets that get each new event
        self.ready = asyncio.Event()
        self.ended = False
        self.lock = asyncio.Lock()
        self.receiving = asyncio.create_task(self.receive())

    @classmethod
    async def enter(cls, group, *args):
        """Return the subscription to a group. Every ``enter`` needs a ``leave``."""
        here = subscriptions.setdefault(asyncio.get_running_loop(), {})
        while (found := here.get(group)) and found.ended:
            await asyncio.wait([found.receiving])
        if not found:
            found = here[group] = cls(group, *args)
        found.visitors += 1
        try:
            await found.ready.wait()
        except BaseException:
            found.leave()
            raise
        return found

    def leave(self, outbox=None):
        """Undo one ``enter``. The last one ends the subscription."""
        self.outboxes.discard(outbox)
        self.visitors -= 1
        if self.visitors == 0 and not self.ended:
            self.ended = True
            self.receiving.cancel()

    async def receive(self):
        """Handle the group's events until cancelled.

        Without Redis the process goes on: it hears nothing from the others, and tries
        to subscribe again. After another error, say of the database, the sockets are
        closed with ``TOO_SLOW``: they come back.
        """
        try:
            while True:
                try:
                    await self.subscribe_and_receive()
                # RuntimeError: two tasks used a connection that redis-py restores.
                except (RedisError, OSError, RuntimeError) as error:
                    logger.warning("not subscribed to %s: %r", self.group, error)
                await self.start()
                await asyncio.sleep(LAYER_TIMEOUT)
        except Exception:
            logger.exception("the subscription to %s ends", self.group)
            self.ended = True
            for outbox in self.outboxes:
                outbox.close(TOO_SLOW)
        finally:
            self.ready.set()
            del subscriptions[asyncio.get_running_loop()][self.group]

    async def subscribe_and_receive(self):
        """Subscribe, then handle events until something fails."""
        layer = get_channel_layer()
        async with asyncio.timeout(LAYER_TIMEOUT):
            # Without Redis, this fails. A failed group_add would leave a channel in
            # the layer's memory, one for each try.
            await layer.group_send(self.group, {"type": "probe"})
            channel = await layer.new_channel()
        try:
            async with asyncio.timeout(LAYER_TIMEOUT):
                await layer.group_add(self.group, channel)
            await self.start()
            while True:
                await self.handle(await layer.receive(channel))
        finally:
            with suppress(Exception):  # Redis may be away
                async with asyncio.timeout(LAYER_TIMEOUT):
                    await layer.group_discard(self.group, channel)

    async def start(self):
        """Let the sockets in."""
        async with self.lock:
            await self.subscribed()
        self.ready.set()

    async def probe(self, event):
        """Ignore the event that ``subscribe_and_receive`` sends."""

    async def subscribed(self):
        """Do what is necessary before the first event."""

    async def handle(self, event):
        """Call the method that the type names, as a consumer does: one at a time."""
        async with self.lock:
            await getattr(self, get_handler_name(event))(event)

    async def hand_out(self, frame):
        """Put a frame into each outbox. Nothing here waits."""
        encoded = encode(frame)
        for outbox in self.outboxes:
            outbox.put(encoded)
