"""The limit for Python: the websockets library's own `broadcast()`, with nothing around it.

`python -m course.bench.raw PORT`. The frames are those of step 5, but nothing is stored, and
nobody signs in.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime

from websockets.asyncio.server import ServerConnection, broadcast, serve

rooms: dict[str, set[ServerConnection]] = {}
counters: dict[str, int] = {}


async def converse(connection: ServerConnection) -> None:
    """Pass on each message of one client to everybody in its room."""
    assert connection.request is not None
    path = connection.request.path
    room = rooms.setdefault(path, set())
    room.add(connection)
    try:
        async for text in connection:
            said = json.loads(text)
            seq = counters[path] = counters.get(path, 0) + 1
            frame = {
                "message": said["message"],
                "id": seq,
                "seq": seq,
                "sent_at": datetime.now(UTC).isoformat(),
                "username": "bench",
                "client_id": said["client_id"],
            }
            broadcast(room, json.dumps(frame))
    finally:
        room.discard(connection)


async def main(port: int) -> None:
    """Serve until the process is ended."""
    async with serve(converse, "127.0.0.1", port, compression=None):
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
