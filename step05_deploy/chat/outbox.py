"""What a socket has not been sent yet: a short queue, so that a slow socket holds up nobody."""

import asyncio
import logging
from collections import deque

from .protocol import TOO_SLOW

logger = logging.getLogger(__name__)

LIMIT = 1000  # frames that may wait for one socket


class Outbox:
    """The frames that wait for one socket, and the task that sends them while there are any.

    ``put`` and ``close`` never wait, so that one loop can serve a whole room. Sending does wait,
    as soon as the client does not read (with Daphne, servers.py sees to it).
    """

    def __init__(self, send, user_id):
        """Take the ``send`` of an ASGI application, and who is at the other end."""
        self.send = send
        self.user_id = user_id
        self.waiting = deque()
        self.accepted = False
        self.closed = False
        self.sending = None

    def accept(self):
        """Open the socket: a browser is told the close code of an open socket only."""
        self.accepted = True
        self.waiting.appendleft({"type": "websocket.accept"})
        self.send_soon()

    def put(self, event):
        """Send an ASGI event when those before it are sent; over ``LIMIT``, close instead."""
        if self.closed:
            return
        if len(self.waiting) >= LIMIT:
            self.waiting.clear()  # the client will ask for them when it is back
            self.close(TOO_SLOW)
            return
        self.waiting.append(event)
        self.send_soon()

    def close(self, code):
        """Close the socket after what waits; nothing is taken any more."""
        if not self.closed:
            self.put({"type": "websocket.close", "code": code})
            self.closed = True

    def send_soon(self):
        """Have a task send what waits, if there is none."""
        if self.accepted and self.sending is None:
            self.sending = asyncio.create_task(self.send_all())

    async def send_all(self):
        """Send until nothing waits."""
        try:
            while self.waiting:
                await self.send(self.waiting.popleft())
        except Exception as error:
            # One broken connection: it ends, and the others do not notice.
            self.closed = True
            self.waiting.clear()
            logger.info("cannot send: %r", error)
        finally:
            self.sending = None

    async def empty(self):
        """Wait until everything is sent."""
        if self.sending:
            await asyncio.wait([self.sending])
