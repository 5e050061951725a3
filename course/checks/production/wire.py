"""Clients that send any bytes, through nginx or to its port, and watch what the others notice."""

import asyncio
import json
import re
import struct
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from course.checks.production.prepared import Place
from course.core.ports import HOST
from course.stack.stack import SERVERS

SOON = 1.0  # seconds until the others get an answer, as the median
LATEST = 3.0  # seconds for the slowest answer, on a busy machine
ENOUGH = 48.0  # MiB by which a worker may grow during an abuse
PATIENCE = 15.0  # seconds to wait for an answer before a test gives up
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9  # opcodes
BOTH = pytest.mark.parametrize("lone_stack", SERVERS, indirect=True)
ONE = pytest.mark.parametrize("lone_stack", SERVERS[:1], indirect=True)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc and 127.0.0.2")
HANDSHAKE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def frame(
    opcode: int,
    data: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    masked: bool = True,
    length: int | None = None,
) -> bytes:
    """Return a client's frame, valid or not. `length` is the length that its header states.

    The masking key is four zero bytes, so the data is readable on the wire.
    """
    length = len(data) if length is None else length
    first, mask = fin << 7 | reserved << 4 | opcode, masked << 7
    if length < 126:
        head = struct.pack("!BB", first, mask | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", first, mask | 126, length)
    else:
        head = struct.pack("!BBQ", first, mask | 127, length)
    return head + b"\0\0\0\0" * masked + data


def code(number: int) -> bytes:
    """Return the data of a close frame."""
    return struct.pack("!H", number)


def frames_in(data: bytes) -> list[tuple[int, bytes]]:
    """Return opcode and data of each whole server frame; AssertionError if one is not valid."""
    found = []
    while len(data) >= 4 or data[1:2] == b"\0":
        first, length = data[:2]
        assert first >> 4 == 8, data[:20]  # not fragmented, no reserved bit set
        assert length <= 126, data[:20]  # not masked, less than 64 KiB
        start = 2
        if length == 126:
            (length,), start = struct.unpack("!H", data[2:4]), 4
        if len(data) < start + length:
            break
        found.append((first & 15, data[start : start + length]))
        data = data[start + length :]
    return found


def close_code(frames: list[tuple[int, bytes]]) -> int | None:
    """Return the code of the server's close frame; None if there is no such frame."""
    codes: list[int] = [struct.unpack("!H", data[:2])[0] for op, data in frames if op == CLOSE]
    return codes[0] if codes else None


async def say(socket: ClientConnection, message: str, **more: str) -> None:
    """Send a message."""
    await socket.send(json.dumps({"message": message, **more}))


async def hear(socket: ClientConnection) -> dict[str, Any]:
    """Return the next frame that is not `caught_up`."""
    answer: dict[str, Any] = {"caught_up": 0}
    async with asyncio.timeout(PATIENCE):
        while "caught_up" in answer:
            answer = json.loads(await socket.recv())
    return answer


class Wire(Place):
    """A stack, and clients of all kinds; what is measured is worker1.

    Ann does what a test is about. Ben stands for the others. A person's limits last from one test
    to the next, so each test of a limit signs in another person.
    """

    @property
    def process(self) -> Path:
        """The folder in /proc with the facts about the worker's process."""
        return Path(f"/proc/{self.stack.parts['worker1'].pid}")

    def memory(self, what: str) -> float:
        """Return the worker's memory in MiB: VmRSS is now, VmHWM the peak since a reset."""
        (kibibytes,) = re.findall(rf"{what}:\s+(\d+) kB", (self.process / "status").read_text())
        return int(kibibytes) / 1024

    def enter(self, room: str, who: str = "ann", source: str = HOST, after: str = "") -> connect:
        """Enter a room from an address of this machine."""
        return connect(
            f"ws://{self.stack.host}/ws/chat/{room}/?after={after}",
            additional_headers=self.headers(who),
            compression=None,
            max_queue=None,
            open_timeout=PATIENCE,
            local_addr=(source, 0),
        )

    async def open(self, source: str = HOST) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to nginx, and send nothing."""
        return await asyncio.open_connection(HOST, self.stack.port, local_addr=(source, 0))

    def request(self, line: str, extra: str = "", **headers: str) -> bytes:
        """Return the head of a request."""
        lines = {"Host": self.stack.host, **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        return f"{line} HTTP/1.1\r\n{head}{extra}\r\n".encode("latin-1")

    async def ask(self, sent: bytes, source: str = HOST) -> int:
        """Send a request, valid or not; return the status, or 0 if no status comes."""
        reader, writer = await self.open(source)
        try:
            writer.write(sent)
            async with asyncio.timeout(PATIENCE):
                first = await reader.readline()
            return int(first.split()[1]) if first.startswith(b"HTTP/1.1 ") else 0
        except ConnectionError:
            return 0
        finally:
            writer.transport.abort()

    async def get(self, path: str, source: str = HOST, **headers: str) -> int:
        """Return the status of a page."""
        return await self.ask(self.request(f"GET {path}", **headers), source)

    async def upgrade(self, path: str, **headers: str) -> int:
        """Return the status of the answer to a WebSocket handshake."""
        return await self.ask(
            self.request(f"GET {path}", HANDSHAKE, **{**self.headers(), **headers})
        )

    def handshake(self, extra: str = "", who: str = "ann") -> bytes:
        """Return the handshake request for a socket that gets no history."""
        path = "/ws/chat/wire/?after=999999999"
        return self.request(f"GET {path}", HANDSHAKE + extra, **self.headers(who))

    async def shake_hands(
        self, extra: str = "", who: str = "ann"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        """Open a socket; return its reader and writer, and the head of the server's answer."""
        reader, writer = await self.open()
        writer.write(self.handshake(extra, who))
        async with asyncio.timeout(PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        return reader, writer, head

    async def wire(
        self, sent: bytes, *, times: int = 1, hang_up: bool = False, who: str = "ann"
    ) -> list[tuple[int, bytes]]:
        """Open a socket, send these bytes, and return all frames until the connection ends.

        Answer a close frame; with `hang_up`, end our side after the bytes instead. Fail the test
        if the connection does not end.
        """
        reader, writer, _ = await self.shake_hands(who=who)

        async def send() -> None:
            with suppress(ConnectionError):
                for _ in range(times):
                    writer.write(sent)
                    await writer.drain()
                if hang_up:
                    writer.write_eof()

        sending = asyncio.create_task(send())
        data, answered = b"", False
        try:
            async with asyncio.timeout(PATIENCE):
                while more := await reader.read(1 << 16):
                    data += more
                    if not (answered or hang_up) and close_code(frames_in(data)) is not None:
                        writer.write(frame(CLOSE, code(1000)))
                        answered = True
        except ConnectionError:
            pass  # data that was still under way is lost
        except TimeoutError:
            pytest.fail(f"still open after {sent[:60]!r}")
        finally:
            sending.cancel()
            writer.transport.abort()
        return frames_in(data)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Let Ben talk and ask for pages meanwhile; check his waits and the worker's memory."""
        waits: list[float] = []
        before = self.memory("VmRSS")
        (self.process / "clear_refs").write_text("5")  # resets VmHWM

        async def talk(socket: ClientConnection) -> None:
            while True:
                began = time.monotonic()
                await say(socket, f"at {began}")
                while (await hear(socket)).get("message") != f"at {began}":
                    pass
                waits.append(time.monotonic() - began)
                began = time.monotonic()
                assert await self.get("/healthz") == 200
                waits.append(time.monotonic() - began)
                await asyncio.sleep(0.2)

        async with self.enter("others", "ben") as socket:
            talking = asyncio.create_task(talk(socket))
            began = time.monotonic()
            try:
                yield
                await asyncio.sleep(0.5)
                lasted = time.monotonic() - began
                if talking.done():
                    await talking
            finally:
                talking.cancel()
        peak = self.memory("VmHWM")
        print(f"others waited {max(waits):.2f} s, the worker had {before:.0f} to {peak:.0f} MiB")
        assert len(waits) > lasted
        assert median(waits) < SOON
        assert max(waits) < LATEST
        assert peak < before + ENOUGH

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Check that no client made a worker or nginx log a traceback or worse."""
        parts = [self.stack.parts[name] for name in ("nginx", *self.stack.worker_names)]
        before = [len(part.text) for part in parts]
        yield
        said = [part.text[start:] for part, start in zip(parts, before, strict=True)]
        # uvicorn logs a traceback for this mistake of a client.
        usual = "Invalid UTF-8 sequence received from client.\nTraceback"
        assert [text[-3000:] for text in said[1:] if "Traceback" in text.replace(usual, "")] == []
        assert re.findall(r".*\[(?:crit|alert|emerg)\].*", said[0]) == []
