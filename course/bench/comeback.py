"""Everybody's return: thousands of pages that have lost their server connect again at once.

Each page does what `conversation.js` does: it waits for a random time, longer after each failure,
and gives up a socket that has not caught up after ten seconds.
"""

import asyncio
import base64
import os
import random
from typing import Any

TIME_LIMIT = 10.0  # seconds: as in conversation.js
PER_ADDRESS = 900  # sockets from one address of this machine


class Crowd:
    """The pages, their number of tries, and when each was back."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.tries = 0
        self.back: list[float] = []  # seconds until each page was back
        self.writers: list[asyncio.StreamWriter] = []

    async def page(self, number: int, began: float) -> None:
        """Try to connect until the page is back."""
        tries = 0
        while True:
            await asyncio.sleep(random.uniform(0, min(15, 0.5 * 2**tries)))
            tries += 1
            self.tries += 1
            try:
                async with asyncio.timeout(TIME_LIMIT):
                    await self.connect(number)
            except (OSError, EOFError):
                continue
            self.back.append(asyncio.get_running_loop().time() - began)
            return

    async def connect(self, number: int) -> None:
        """Open a socket and read until it has caught up; raise EOFError if it closes before."""
        host, port, cookies = (self.job[name] for name in ("host", "port", "cookies"))
        source = f"127.0.0.{2 + number // PER_ADDRESS}"
        reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0))
        try:
            writer.write(
                f"GET /ws/chat/{self.job['room']}/?after=0 HTTP/1.1\r\nHost: {host}:{port}\r\n"
                f"Origin: http://{host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
                f"Cookie: sessionid={cookies[number % len(cookies)]}\r\n\r\n".encode()
            )
            data = b""
            while b"caught_up" not in data:
                more = await reader.read(65_536)
                if not more:
                    raise EOFError
                data += more
        except BaseException:
            writer.close()
            raise
        self.writers.append(writer)

    async def come_back(self) -> dict[str, Any]:
        """Let all pages come back; return the seconds that they needed, and their tries."""
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*[self.page(number, began) for number in range(self.job["sockets"])])
        half = self.back[len(self.back) // 2]
        return {"half": half, "all": self.back[-1], "tries": self.tries, "faults": []}


def come_back(job: dict[str, Any]) -> dict[str, Any]:
    """Return the result of `Crowd.come_back`. `job` has host, port, cookies, room and sockets."""
    return asyncio.run(Crowd(job).come_back())
