"""Everybody's return: thousands of pages that have lost their server connect again at once.

Each page does what `conversation.js` does: it waits for a random time, longer after each failure,
and gives up a socket that has not caught up after ten seconds.
"""

import asyncio
import random
import time
from typing import Any

from course.bench.client import handshake

TIME_LIMIT = 10.0  # seconds: as in conversation.js


async def connect(job: dict[str, Any], number: int) -> asyncio.StreamWriter:
    """Open a socket and read until it has caught up; raise EOFError if it closes before."""
    source, request = handshake(job, number, f"{job['room']}/?after=0")
    reader, writer = await asyncio.open_connection(job["host"], job["port"], local_addr=source)
    try:
        writer.write(request)
        await reader.readuntil(b"caught_up")
    except BaseException:
        writer.close()
        raise
    return writer


async def come_back(job: dict[str, Any]) -> dict[str, Any]:
    """Let `job["sockets"]` pages come back; return the seconds of half and of all, and the tries.

    `job` has host, port, cookies and room as well.
    """
    began = time.monotonic()
    tries = 0
    back: list[float] = []  # seconds until each page was back
    writers = []  # a socket that nobody refers to would be closed

    async def page(number: int) -> None:
        nonlocal tries
        longest = 0.5  # seconds
        while True:
            await asyncio.sleep(random.uniform(0, min(15, longest)))
            longest *= 2
            tries += 1
            try:
                async with asyncio.timeout(TIME_LIMIT):
                    writers.append(await connect(job, number))
            except (OSError, EOFError):
                continue
            back.append(time.monotonic() - began)
            return

    await asyncio.gather(*map(page, range(job["sockets"])))
    return {"half": back[len(back) // 2], "all": back[-1], "tries": tries, "faults": []}
