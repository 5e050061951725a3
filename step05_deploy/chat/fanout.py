"""Fan-out once per process: one subscription for all the sockets here that want the same.

When every socket is a member of the group, the channel layer carries a message once for each of
them: a task, two queues and a thread for every recipient. Here the process is the member: the
message comes once, is encoded once, and is put into the outbox of each socket.
"""

import asyncio
import json
import logging
from contextlib import suppress
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)

PATIENCE = 2  # seconds that the channel layer may take to answer

# Subscriptions by group. A server has one event loop; tests have one each.
subscriptions = WeakKeyDictionary()


def encode(frame):
    """Return the ASGI event that sends a frame, made once for however many sockets."""
    return {"type": "websocket.send", "text": json.dumps(frame)}


class Subscription:
    """The events of one group, received once, and handed to the sockets of this process.

    It is there from the first socket that enters to the last that leaves.
    """

    def __init__(self, group):
        """Subscribe to a group; ``enter`` calls this."""
        self.group = group
        self.visitors = 0  # sockets that have entered
        self.sockets = set()  # the outboxes of those that get what is said from now on
        self.tried = asyncio.Event()
        self.ended = False
        self.receiving = asyncio.create_task(self.receive())

    @classmethod
    async def enter(cls, group, *args):
        """Return the subscription to a group, new or old; every ``enter`` needs a ``leave``."""
        here = subscriptions.setdefault(asyncio.get_running_loop(), {})
        while (found := here.get(group)) and found.ended:
            await asyncio.wait([found.receiving])  # the last one left just now
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
        """Give up one ``enter``; the last one ends the subscription."""
        self.sockets.discard(outbox)
        self.visitors -= 1
        if self.visitors == 0:
            self.ended = True
            self.receiving.cancel()
            await asyncio.wait([self.receiving])

    async def receive(self):
        """Stay subscribed, and handle what comes, until cancelled.

        Without the channel layer a process goes on: it hears nothing from the others, and tries
        again.
        """
        try:
            while True:
                try:
                    await self.subscribe_and_receive()
                except Exception:
                    logger.exception("not subscribed to %s", self.group)
                self.tried.set()
                await asyncio.sleep(PATIENCE)
        finally:
            del subscriptions[asyncio.get_running_loop()][self.group]

    async def subscribe_and_receive(self):
        """Do one attempt of ``receive``."""
        layer = get_channel_layer()
        async with asyncio.timeout(PATIENCE):
            # Fails where Redis is away. A channel asked for then would fail as well, and be kept:
            # each try, for each room, would cost some kilobytes, and nothing gives them back.
            await layer.group_send(self.group, {"type": "probe"})
            channel = await layer.new_channel()
        try:
            async with asyncio.timeout(PATIENCE):
                await layer.group_add(self.group, channel)
            self.tried.set()
            while True:
                event = await layer.receive(channel)
                # As with a consumer, the type names the method: chat.message is chat_message.
                getattr(self, event["type"].replace(".", "_"))(event)
        finally:
            with suppress(Exception):  # if it cannot be told, it finds out by itself
                async with asyncio.timeout(PATIENCE):
                    await layer.group_discard(self.group, channel)

    def probe(self, event):
        """Do nothing: another process has found out that Redis is there."""

    def chat_message(self, event):
        """Hand a frame that is not stored, such as an announcement, to everybody here."""
        self.hand_out(event["frame"])

    def hand_out(self, frame):
        """Put a frame into the outbox of each socket. Nothing here waits for anybody."""
        encoded = encode(frame)
        for socket in self.sockets:
            socket.put(encoded)
