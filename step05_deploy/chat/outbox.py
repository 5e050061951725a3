"""The outbox of a socket: a short queue, so that a slow client delays nobody."""

import asyncio
import json
import logging
from collections import deque

logger = logging.getLogger(__name__)

LIMIT = 1000  # frames that may wait for one client
TOO_SLOW = 4013  # close code: connect again, and ask for what you missed


def encode(frame):
    """Return the ASGI event that sends a frame, for any number of sockets."""
    # An emoji has 4 bytes as UTF-8. As an ASCII escape it would have 12.
    text = json.dumps(frame, ensure_ascii=False)
    return {"type": "websocket.send", "text": text}


class Outbox:
    """The ASGI events that wait for one client, and the task that sends them.

    Sending waits when the client does not read, and ``put`` never waits. When
    ``LIMIT`` events wait, they are dropped and the socket is closed with ``TOO_SLOW``.
    The client finds the messages in the database when it connects again.
    """

    def __init__(self, send, scope=None):
        """Take an ASGI application's ``send``, and the scope of the connection."""
        self.send_event = send
        self.scope = scope
        self.waiting = deque()
        self.closed = False  # whether a close event was put: nothing comes after it
        self.sending = None

    async def send(self, event):
        """Put an event, where a consumer expects the ``send`` of the server."""
        self.put(event)

    def put(self, event):
        """Send an event after those before it."""
        if self.closed:
            return
        if len(self.waiting) >= LIMIT:
            self.waiting.clear()
            event = {"type": "websocket.close", "code": TOO_SLOW}
        self.closed = event["type"] == "websocket.close"
        self.waiting.append(event)
        if self.sending is None:
            self.sending = asyncio.create_task(self.send_all())

    def close(self, code):
        """Close the socket after the events that wait."""
        self.put({"type": "websocket.close", "code": code})

    async def send_all(self):
        """Send until nothing waits."""
        try:
            while self.waiting:
                await self.send_event(self.waiting.popleft())
        except Exception as error:
            # The connection is broken. The server ends its consumer, and nobody else.
            self.closed = True
            self.waiting.clear()
            logger.info("not sent: %r", error)
        finally:
            self.sending = None

    async def flush(self):
        """Wait until nothing waits."""
        if self.sending:
            await asyncio.wait([self.sending])
