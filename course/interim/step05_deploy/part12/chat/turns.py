"""Turns: a few handshakes at a time, and none for a client that has left.

When a server dies, all pages come back at once. A page waits ten seconds for an
answer, then gives up and tries again. A server that works for pages that have given up
has no time for those that still wait.
"""

import asyncio
from contextlib import suppress
from weakref import WeakKeyDictionary

from channels.middleware import BaseMiddleware

from .threads import in_a_thread

HANDSHAKES = 16  # that ask the database at a time: the pool has 20 connections
# The semaphores. A server has one event loop; each test has its own.
turns = WeakKeyDictionary()


class ClientHasLeft(Exception):
    """Nobody waits for the answer to this handshake."""


class TurnMiddleware(BaseMiddleware):
    """Notice when a client leaves before its handshake is answered."""

    async def __call__(self, scope, receive, send):
        """Handle one connection."""
        connect = await receive()
        # Before the answer, a client can only leave. Then the next event comes.
        next_event = asyncio.ensure_future(receive())

        async def events():
            yield connect
            yield await next_event
            while True:
                yield await receive()

        scope = {**scope, "has_left": next_event.done}
        try:
            with suppress(ClientHasLeft):
                await super().__call__(scope, events().__anext__, send)
        finally:
            next_event.cancel()


async def in_turn(scope, function, *arguments):
    """Call a function in a thread when it is this handshake's turn: the oldest first.

    Raises ``ClientHasLeft`` instead of working for nobody.
    """
    loop = asyncio.get_running_loop()
    async with turns.setdefault(loop, asyncio.Semaphore(HANDSHAKES)):
        # The client may have left while its connection waited in the system's queue.
        # Give the event loop time to read that.
        await asyncio.sleep(0.005)
        if scope["has_left"]():
            raise ClientHasLeft
        return await in_a_thread(function)(*arguments)
