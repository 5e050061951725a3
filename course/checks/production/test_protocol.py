"""Frames and requests that break a protocol are refused or closed. The others do not notice."""

import asyncio
import time
import zlib
from contextlib import suppress
from typing import Any

import psycopg

from course.checks.production.crowd import Background
from course.checks.production.daphne import is_limited
from course.checks.production.prepared import PUPILS
from course.checks.production.wire import (
    BINARY,
    BOTH,
    CLOSE,
    LINUX,
    ONE,
    PING,
    TEXT,
    Wire,
    close_code,
    code,
    frame,
)

pytestmark = LINUX


async def all_of(work: dict[str, Any]) -> dict[str, Any]:
    """Wait for coroutines together; return their results under the same names."""
    return dict(zip(work, await asyncio.gather(*work.values()), strict=True))


@BOTH
def test_frames_that_are_too_big(lone: Wire, background: Background) -> None:
    """The server does not keep a message that is too big, and closes the socket with 1009.

    The message comes in one frame, in many, or only as a header that states a huge length.
    """
    kibibyte = frame(0, b"x" * 1024, fin=False)
    goodbye = frame(CLOSE, code(1000))
    begin = frame(TEXT, b"x", fin=False)
    big = {
        "a byte more": lone.wire(frame(TEXT, b"x" * ((1 << 16) + 1)) + goodbye),
        "a mebibyte": lone.wire(frame(TEXT, b"x" * (1 << 20)) + goodbye),
        "said to be huge": lone.wire(frame(TEXT, length=1 << 62)),
        "said to be negative": lone.wire(frame(BINARY, length=1 << 63)),
        "in tiny pieces": lone.wire(begin + frame(0, b"xyz", fin=False) * 22_000 + goodbye),
        "20 mebibytes": lone.wire(frame(BINARY, b"x" * (20 << 20))),
        "20 mebibytes in pieces": lone.wire(begin + kibibyte * 1024, times=20),
        "in empty pieces": lone.wire(begin + frame(0, fin=False) * 10_000 + goodbye),
    }

    async def send_all() -> dict[str, list[tuple[int, bytes]]]:
        async with lone.watched():
            return await all_of(big)

    frames = background.run(send_all())
    codes = {name: close_code(each) for name, each in frames.items()}
    # This message held one byte and never ended, so it was not too big.
    assert codes.pop("in empty pieces") in {1000, 1002}
    said = {codes.pop("said to be huge"), codes.pop("said to be negative")}
    if is_limited(lone.stack.server, "A frame over 1 MiB ends the connection without a code"):
        small = [codes.pop(name) for name in ("a byte more", "a mebibyte", "in tiny pieces")]
        assert small == [1000] * 3
        assert said == {None}
    else:
        assert said == {1009}
    # A client that is still sending may find the connection gone before it reads the code.
    assert set(codes.values()) <= {1009, None}


@BOTH
def test_frames_for_a_busy_consumer_wait_outside(lone: Wire, background: Background) -> None:
    """While the database holds up a message, the server does not read the frames after it."""
    mebibyte = frame(TEXT, b"x" * (1 << 16)) * 16

    async def send_many() -> None:
        _, writer, _ = await lone.shake_hands(who=PUPILS[6])
        writer.write(frame(TEXT, b'{"message": "hi"}'))
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(3):
                for _ in range(60):
                    writer.write(mebibyte)
                    await writer.drain()
                await asyncio.sleep(3)
        writer.transport.abort()

    before = lone.memory("VmRSS")
    (lone.process / "clear_refs").write_text("5")
    with psycopg.connect(lone.stack.database_url) as database:
        database.execute("LOCK TABLE chat_room IN EXCLUSIVE MODE")
        background.run(send_many())
        peak = lone.memory("VmHWM")
    kept = is_limited(lone.stack.server, "The queue of frames to a busy consumer is unbounded")
    assert (peak > before + 30) == kept, (before, peak)


@BOTH
def test_a_compressed_bomb_is_not_unpacked(lone: Wire, background: Background) -> None:
    """The server refuses compression, because 100 KiB could become 100 MiB."""
    packer = zlib.compressobj(wbits=-15)
    bomb = packer.compress(b"x" * (100 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < 200_000

    async def explode() -> None:
        _, writer, head = await lone.shake_hands(
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
        )
        writer.close()
        assert b"sec-websocket-extensions" not in head.lower()
        async with lone.watched():
            for sent in (bomb, bomb[: 1 << 15]):
                frames = await lone.wire(frame(TEXT, sent, reserved=4))
                assert close_code(frames) in ({1002, 1009, None})
                texts = [data for opcode, data in frames if opcode == TEXT]
                assert [data for data in texts if b"caught_up" not in data] == []

    background.run(explode())


@BOTH
def test_who_breaks_the_protocol_is_closed(lone: Wire, background: Background) -> None:
    """A client that breaks the protocol is closed at once, with the code from RFC 6455."""
    broken = {
        "not masked": (frame(TEXT, b"{}", masked=False), 1002),
        "an opcode that is reserved": (frame(3), 1002),
        "a control opcode that is reserved": (frame(11), 1002),
        "a bit that is reserved": (frame(TEXT, b"{}", reserved=1), 1002),
        "the continuation of nothing": (frame(0, b"x"), 1002),
        "a message within a message": (frame(TEXT, b"x", fin=False) + frame(TEXT), 1002),
        "a ping in pieces": (frame(PING, b"x", fin=False), 1002),
        "a ping that is too long": (frame(PING, b"x" * 126), 1002),
        "not UTF-8": (frame(TEXT, b'{"message": "\xff"}'), 1007),
        "surrogates in UTF-8": (frame(TEXT, b'{"message": "\xed\xa0\x80"}'), 1007),
        "half a close code": (frame(CLOSE, b"\x03"), 1002),
        "a close code for nobody": (frame(CLOSE, code(1005)), 1002),
        "a close code that is none": (frame(CLOSE, code(999)), 1002),
        "a reason that is not UTF-8": (frame(CLOSE, code(1000) + b"\xff"), 1007),
        "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1002),
    }

    async def send_all() -> dict[str, list[tuple[int, bytes]]]:
        async with lone.watched():
            return await all_of({name: lone.wire(sent) for name, (sent, _) in broken.items()})

    began = time.monotonic()
    frames = background.run(send_all())
    assert time.monotonic() - began < 5
    silent = is_limited(lone.stack.server, "A frame over 1 MiB ends the connection without a code")
    wanted = {name: None if silent else code for name, (_, code) in broken.items()}
    assert {name: close_code(each) for name, each in frames.items()} == wanted


@BOTH
def test_sockets_that_lead_nowhere_are_refused(lone: Wire, background: Background) -> None:
    """Any path, cookie or query that is wrong gets an answer at once, and never a 500."""
    nowhere = ["/", "/ws/", "/ws/chat/", "/ws/chat/a/b/", "/ws/nope/", "/chat/lobby/", "/nothing/"]
    nowhere += ["/api/token/", "/healthz", "/static/chat/", f"/ws/chat/{'x' * 51}/"]
    odd = ["?after=-1", f"?after={'9' * 4000}", "?after=%00&after=x", "?token=%00", "?token=%ff"]
    cookies = ["sessionid=\xff\xfe\xfa" + "x" * 20, "sessionid=" + "x" * 4000, "=;=;;"]

    async def knock() -> None:
        async with lone.watched():
            statuses = await all_of({path: lone.upgrade(path) for path in nowhere})
            assert {path: s for path, s in statuses.items() if s not in (403, 404)} == {}
            assert await lone.upgrade("/ws/chat/a%00b/") == 400
            # These handshakes succeed. The socket then gets the room, or a close code.
            rooms = [f"/ws/chat/lobby/{query}" for query in odd] + ["/ws/chat/%ff%ed%a0%80/"]
            statuses = await all_of({path: lone.upgrade(path) for path in rooms})
            assert set(statuses.values()) == {101}
            statuses = await all_of(
                {text: lone.upgrade("/ws/chat/lobby/", Cookie=text) for text in cookies}
            )
            assert set(statuses.values()) == {101}

    background.run(knock())


@ONE
def test_a_cookie_with_a_nul_character_is_refused(lone: Wire, background: Background) -> None:
    """nginx refuses the cookie: otherwise PostgreSQL refuses it, and Django answers 500."""
    for cookie in (r'sessionid="\000aaaaaaaaaaa"', r'other=1; sessionid="aaaaaaa\000aaaa"; x=y'):
        assert background.run(lone.upgrade("/ws/chat/lobby/", Cookie=cookie)) == 400
        assert background.run(lone.get("/chat/", Cookie=cookie)) == 400
    assert background.run(lone.get("/chat/", Cookie=r'sessionid="\001aaaaaaaaaaa"')) == 302


@ONE
def test_requests_that_are_none(lone: Wire, background: Background) -> None:
    """Malformed requests are refused, nearly all by nginx, with a line in a log at most."""
    post = "POST /api/token/"
    requests = {
        "a header of 40 KiB": (lone.request("GET /", X=f"{'x' * 40_000}"), 400),
        "100 KiB of headers": (lone.request("GET /", f"X: {'x' * 1000}\r\n" * 100), 400),
        "an address of 40 KiB": (lone.request(f"GET /{'x' * 40_000}"), 414),
        "a body that is too long": (lone.request(post, Content_Length="70000"), 413),
        "a length that is none": (lone.request(post, Content_Length="-1"), 400),
        "two lengths": (lone.request(post, "Content-Length: 1\r\nContent-Length: 2\r\n"), 400),
        "a length and chunks": (
            lone.request(post, "Transfer-Encoding: chunked\r\n", Content_Length="4") + b"0\r\n\r\n",
            400,
        ),
        "an encoding that nobody knows": (lone.request(post, Transfer_Encoding="x"), 501),
        "a NUL character": (lone.request("GET /", X="a\0b"), 400),
        "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
        "another host": (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400),
        "the beginning of TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        "bytes": (bytes(range(256)) * 16, 400),
    }

    async def send_all() -> dict[str, int]:
        async with lone.watched():
            return await all_of({name: lone.ask(sent) for name, (sent, _) in requests.items()})

    wanted = {name: status for name, (_, status) in requests.items()}
    assert background.run(send_all()) == wanted
