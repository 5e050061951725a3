"""Write and read frames as JSON."""

import asyncio
import json
from urllib.parse import quote

SECONDS = 10  # longer than any answer takes: a test that waits this long has failed


def socket_path(room):
    """Return the path of a room's socket, encoded as the page encodes it."""
    return f"/ws/chat/{quote(room, safe='')}/"


async def say(socket, message, **more):
    """Send one message through a real socket."""
    await socket.send(json.dumps({"message": message, **more}))


async def hear(socket):
    """Return the next frame that a real socket receives, as a dict."""
    return json.loads(await asyncio.wait_for(socket.recv(), SECONDS))


async def hear_inside(communicator):
    """Return the next frame that a client in this process receives, as a dict."""
    return await communicator.receive_json_from(SECONDS)
