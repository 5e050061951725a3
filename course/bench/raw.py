"""The limit for Python: the websockets library's own `broadcast()`, with nothing around it.

`python -m course.bench.raw PORT`. The frames are those of step 5, but nothing is stored, and
nobody signs in.
"""

import asyncio
import json
import sys
from collections import Counter, defaultdict
from datetime import UTC, datetime

from websockets.asyncio.server import ServerConnection, broadcast, serve

rooms: defaultdict[str, set[ServerConnection]] = defaultdict(set)
counters: Counter[str] = Counter()


async def converse(connection: ServerConnection) -> None:
    """Pass on each message of one client to everybody in its room."""
    assert connection.request
    path = connection.request.path
    rooms[path].add(connection)
    async for text in connection:
        counters[path] += 1
        number, now = counters[path], datetime.now(UTC).isoformat()
        more = {"id": number, "seq": number, "sent_at": now, "username": "bench"}
        broadcast(rooms[path], json.dumps(json.loads(text) | more))
    rooms[path].discard(connection)


async def main(port: int) -> None:
    """Serve until the process is ended."""
    async with serve(converse, "127.0.0.1", port, compression=None):
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
