"""A network between clients and a stack, which a test can take away."""

import asyncio
import time
from contextlib import suppress


class Proxy:
    """A network between clients and the stack, which can vanish without a word to either side."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.carried: list[Pipe] = []
        # Keep references: an event loop holds its tasks weakly, so Python could collect a task
        # whose client is gone.
        self.tasks: list[asyncio.Task[None] | None] = []
        self.server: asyncio.Server | None = None

    async def start(self) -> str:
        """Start to listen; return the address as host:port."""
        self.server = await asyncio.start_server(self.carry, self.host, 0)
        host, port = self.server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one client's connection to the stack."""
        far_reader, far_writer = await asyncio.open_connection(self.host, self.port)
        pipe = Pipe()
        self.carried.append(pipe)
        self.tasks.append(asyncio.current_task())
        try:
            await asyncio.gather(
                pipe.copy(reader, far_writer, "client"), pipe.copy(far_reader, writer, "server")
            )
        finally:
            writer.close()
            far_writer.close()

    async def refuse(self) -> None:
        """Stop accepting new connections."""
        assert self.server is not None
        self.server.close()

    def vanish(self, *sides: str) -> list["Pipe"]:
        """Drop all data that the "client" or the "server" (default: both) sends from now on.

        Return the connections that are affected. New connections work as usual.
        """
        gone, self.carried = self.carried, []
        for pipe in gone:
            pipe.lost |= set(sides or ("client", "server"))
        return gone


class Pipe:
    """One connection through the proxy; `ended` says which sides have closed it, and when."""

    def __init__(self) -> None:
        self.lost: set[str] = set()
        self.ended: dict[str, float] = {}

    async def copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, side: str
    ) -> None:
        """Forward the data of `side` to the other side, until the network vanishes."""
        with suppress(OSError):
            while data := await reader.read(65536):
                if side not in self.lost:
                    writer.write(data)
                    await writer.drain()
        self.ended[side] = time.monotonic()
        if side not in self.lost:
            writer.close()
