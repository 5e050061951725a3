"""Fan-out once per process: one subscription for all sockets of a group.

When every socket is a member of the group, the channel layer carries each message once
for every socket: a task, two queues and a thread per recipient. Here the process is
the member. Each message comes once, is encoded once, and goes into the outbox of each
socket.
"""

import asyncio
import json
import logging
from contextlib import suppress
from weakref import WeakKeyDictionary

from channels.consumer import get_handler_name
from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)

LAYER_TIMEOUT = 2  # seconds for an answer of the channel layer, or until the next try

# The subscriptions by group. A server has one event loop; each test has its own.
subscriptions = WeakKeyDictionary()


def encode(frame):
    """Return the ASGI event that sends a frame, for any number of sockets."""
    return {"type": "websocket.send", "text": json.dumps(frame)}


class Subscription:
    """The events of one group: received once, handed to the sockets of this process.

    It exists from the first socket that enters until the last one leaves.
    """

    def __init__(self, group):
        """Subscribe to a group. Only ``enter`` calls this."""
        self.group = group
        self.visitors = 0  # sockets that have entered
        self.outboxes = set()  # of the sockets that get each new event
        self.tried = asyncio.Event()
        self.ended = False
        self.receiving = asyncio.create_task(self.receive())

    @classmethod
    async def enter(cls, group, *args):
        """Return the subscription to a group. Every ``enter`` needs a ``leave``."""
        here = subscriptions.setdefault(asyncio.get_running_loop(), {})
        while (found := here.get(group)) and found.ended:
            await asyncio.wait([found.receiving])  # its last socket has just left
        if not found:
            found = here[group] = cls(group, *args)
        found.visitors += 1
        try:
            await found.tried.wait()
        except BaseException:
            await found.leave()
            raise
        return found

    async def leave(self, outbox=None):
        """Undo one ``enter``. The last one ends the subscription."""
        self.outboxes.discard(outbox)
        self.visitors -= 1
        if self.visitors == 0:
            self.ended = True
            self.receiving.cancel()
            await asyncio.wait([self.receiving])

    async def receive(self):
        """Handle the group's events until cancelled.

        Without the channel layer the process goes on: it hears nothing from the
        others, and tries to subscribe again.
        """
        try:
            while True:
                try:
                    await self.subscribe_and_receive()
                except Exception as error:
                    logger.warning("not subscribed to %s: %r", self.group, error)
                self.tried.set()
                await asyncio.sleep(LAYER_TIMEOUT)
        finally:
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
            self.tried.set()
            while True:
                event = await layer.receive(channel)
                # As in a consumer, the type names the method.
                getattr(self, get_handler_name(event))(event)
        finally:
            with suppress(Exception):  # Redis may be away
                async with asyncio.timeout(LAYER_TIMEOUT):
                    await layer.group_discard(self.group, channel)

    def probe(self, event):
        """Ignore the event that ``subscribe_and_receive`` sends."""

    def chat_message(self, event):
        """Hand out a frame that is not stored, such as an announcement."""
        self.hand_out(event["frame"])

    def hand_out(self, frame):
        """Put a frame into each outbox. Nothing here waits."""
        encoded = encode(frame)
        for outbox in self.outboxes:
            outbox.put(encoded)
