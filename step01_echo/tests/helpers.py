"""Write and read frames as JSON."""

import asyncio
import json

SECONDS = 10  # longer than any answer takes: a test that waits this long has failed


async def say(socket, message, **more):
    """Send one message through a real socket."""
    await socket.send(json.dumps({"message": message, **more}))


async def hear(socket):
    """Return the next frame that a real socket receives, as a dict."""
    return json.loads(await asyncio.wait_for(socket.recv(), SECONDS))
