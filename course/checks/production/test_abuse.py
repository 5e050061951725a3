"""A client that abuses the service is slowed down, refused or closed. The others do not notice.

Everything goes through nginx to one real worker, so the worker that is abused also has to answer
the others. The step's own tests of limits check more, without nginx and without the others.
"""

import asyncio
import json
import re
import time
from collections import Counter
from concurrent.futures import Future
from contextlib import suppress
from itertools import cycle, islice

import psycopg
import pytest
from websockets.exceptions import ConnectionClosed

from course.checks.production.crowd import Background
from course.checks.production.daphne import is_limited
from course.checks.production.prepared import PUPILS
from course.checks.production.wire import (
    BOTH,
    HANDSHAKE,
    LINUX,
    ONE,
    PATIENCE,
    TEXT,
    Wire,
    close_code,
    frame,
    hear,
    say,
)
from course.core.ports import HOST
from course.stack.stack import SERVERS

pytestmark = LINUX

RATE, BURST = 10, 20  # messages that one person may send, per second and at once
MAX_SOCKETS = 50  # sockets that one person may have open
FLOODING = 4008
MANY_MESSAGES = """
INSERT INTO chat_room (name, seq) VALUES ('long', 2000);
INSERT INTO chat_message (room, seq, text, sent_at)
SELECT 'long', seq, 'hi', now() FROM generate_series(1, 2000) AS seq;
"""
GARBAGE = [
    *(b"garbage", b"", b"null", b"[]", b"1e999", b'{"message": 7}', b'{"message": "\\ud800"}'),
    *(b'{"type": "websocket.disconnect"}', b"[" * 10_000, b"9" * 10_000),
]


async def stall(lone: Wire, sent: bytes, slowly: bytes = b"") -> tuple[float, float]:
    """Send some bytes, then one byte a second; return the seconds until we are cut off.

    nginx began to count at a moment that we do not see: return the fewest and the most seconds.
    """
    called = time.monotonic()
    reader, writer = await lone.open()
    opened = time.monotonic()
    writer.write(sent)

    async def drip() -> None:
        with suppress(ConnectionError):
            for byte in slowly:
                await asyncio.sleep(1)
                writer.write(bytes([byte]))
                await writer.drain()

    dripping = asyncio.create_task(drip())
    try:
        async with asyncio.timeout(20):
            with suppress(ConnectionError):
                while await reader.read(1000):
                    pass
    finally:
        dripping.cancel()
        writer.transport.abort()
    ended = time.monotonic()
    return ended - opened, ended - called


async def stall_all(lone: Wire) -> list[tuple[float, float]]:
    """Connect slow clients of all kinds; return the seconds until each was cut off."""
    head = lone.request("GET /ws/chat/lobby/", HANDSHAKE, **lone.headers())
    form = lone.request("POST /accounts/login/", Content_Length="100")
    flood = lone.handshake(who=PUPILS[7]) + frame(TEXT, b"garbage") * 3 * BURST
    kinds = [
        *(stall(lone, flood) for _ in range(10)),
        *(stall(lone, b"") for _ in range(2000)),
        *(stall(lone, head[:-2]) for _ in range(50)),
        *(stall(lone, b"", head) for _ in range(50)),
        *(stall(lone, form + b"half") for _ in range(30)),
    ]
    return await asyncio.gather(*kinds)


@pytest.fixture(scope="module", autouse=True)
def slow(lone_stack: Wire, background: Background) -> Future[list[tuple[float, float]]] | None:
    """Start slow clients, which stay while other tests run, so no test waits for them alone."""
    if lone_stack.stack.server != SERVERS[0]:
        return None
    return asyncio.run_coroutine_threadsafe(stall_all(lone_stack), background.loop)


@BOTH
def test_a_burst_passes_a_flood_is_closed(lone: Wire, background: Background) -> None:
    """A burst of twenty and ten a second pass. A client that ignores `retry_after` gets 4008."""

    async def flood() -> None:
        async with lone.watched(), lone.enter("rate", PUPILS[0]) as socket:
            began, answers, refused = time.monotonic(), [], []
            while not refused:  # a busy machine may be slower than the limit at first
                if answers:  # nothing was refused: let the next burst be a whole one
                    await asyncio.sleep(BURST / RATE)
                for number in range(len(answers), len(answers) + 2 * BURST):
                    await say(socket, f"{number}", client_id=f"{number}")
                answers += [await hear(socket) for _ in range(2 * BURST)]
                refused = [answer for answer in answers if "error" in answer]
            seconds = time.monotonic() - began
            stored = [answer["seq"] for answer in answers if "seq" in answer]
            assert len(refused) <= len(answers) - BURST
            assert len(stored) <= BURST + RATE * seconds + 1
            assert stored == [*range(1, len(stored) + 1)]
            assert all(0 < answer["retry_after"] < 5 for answer in refused)

            for number in range(100 * BURST):
                with suppress(ConnectionClosed):
                    await say(socket, f"more {number}")
                await asyncio.sleep(0)  # let the client read: otherwise the close frame may be lost
            await asyncio.wait_for(socket.wait_closed(), PATIENCE)
            assert socket.close_code == FLOODING

    background.run(flood())


@BOTH
def test_ten_thousand_garbage_frames(lone: Wire, background: Background) -> None:
    """Ten clients at once send garbage, and reconnect each time the worker closes them."""
    who = PUPILS[5]
    sent = b"".join(frame(TEXT, data) for data in islice(cycle(GARBAGE), 250))
    hurried = is_limited(
        lone.stack.server, "A client has less than a second to answer a close frame"
    )

    async def pester() -> None:
        closed = 0
        while closed < 4:
            frames = await lone.wire(sent, who=who)
            if hurried and close_code(frames) is None:
                continue  # ten clients at once may be slow to answer
            assert close_code(frames) == FLOODING
            closed += 1
            answers = [json.loads(data) for opcode, data in frames if opcode == TEXT]
            errors = [answer for answer in answers if "caught_up" not in answer]
            assert 0 < len(errors) < 4 * BURST
            assert all("error" in answer for answer in errors)

    async def pester_together() -> None:
        async with lone.watched():
            await asyncio.gather(*[pester() for _ in range(10)])

    background.run(pester_together())


@ONE
def test_fifty_sockets_read_a_long_room(lone: Wire, background: Background) -> None:
    """One person reads a whole history on fifty sockets at once, and the others hardly wait."""
    with psycopg.connect(lone.stack.database_url) as database:
        database.execute(MANY_MESSAGES)

    async def read_all() -> None:
        async with lone.enter("long", PUPILS[6], after="0") as socket:
            while "caught_up" not in json.loads(await socket.recv()):
                pass

    async def read_much() -> None:
        async with lone.watched():
            await asyncio.gather(*[read_all() for _ in range(MAX_SOCKETS)])

    background.run(read_much(), 100)


@ONE
def test_a_thousand_connections_of_one_address(lone: Wire, background: Background) -> None:
    """nginx refuses more connections. The open ones go on, and so do all other addresses."""
    one, other = "127.0.0.20", "127.0.0.21"
    half = lone.request("POST /chat/", Content_Length="100")

    async def crowd() -> None:
        async with lone.watched(), lone.enter("crowd", source=one) as socket:
            writers = []
            for _ in range(999):
                _, writer = await lone.open(one)
                writer.write(half)
                writers.append(writer)
            await asyncio.sleep(0.2)
            forged = {"X_Forwarded_For": other}
            asked = [lone.get("/healthz", one, **forged) for _ in range(20)]
            assert set(await asyncio.gather(*asked)) == {429}
            assert await lone.ask(lone.request("GET /ws/chat/lobby/", HANDSHAKE), one) == 429
            assert await lone.get("/healthz", other) == 200
            await say(socket, "still here")
            assert (await hear(socket))["message"] == "still here"
            for writer in writers:
                writer.transport.abort()
            await asyncio.sleep(0.2)
            assert await lone.get("/healthz", one) == 200

    background.run(crowd())


@ONE
@pytest.mark.parametrize(
    ("paths", "burst", "rate", "source"),
    [
        (["/accounts/login/", "/accounts/signup/", "/admin/login/"], 40, 1, "127.0.0.30"),
        (["/api/token/"], 200, 20, "127.0.0.40"),
    ],
    ids=["sign in", "token"],
)
def test_who_tries_too_often_waits(
    lone: Wire, background: Background, paths: list[str], burst: int, rate: int, source: str
) -> None:
    """All sign-in pages share one limit, tokens have another, whatever address a client claims."""
    times = burst + 60
    other = source.replace("127.0.0.", "127.0.1.")

    def sends(path: str, claims: str = HOST) -> bytes:
        return lone.request(f"POST {path}", Content_Length="0", X_Forwarded_For=claims)

    async def attempt() -> tuple[Counter[int], float]:
        began = time.monotonic()
        limit = asyncio.Semaphore(20)

        async def once(path: str, number: int) -> int:
            async with limit:
                return await lone.ask(sends(path, f"10.0.0.{number % 200}"), source)

        asked = [once(path, n) for n, path in enumerate(islice(cycle(paths), times))]
        return Counter(await asyncio.gather(*asked)), time.monotonic() - began

    async def try_often() -> None:
        async with lone.watched():
            statuses, seconds = await attempt()
            refused = statuses.pop(429)
            assert times - burst - rate * seconds - 2 <= refused < times - burst
            # nginx lets these pass. The worker refuses them: no password, or no CSRF cookie.
            assert set(statuses) <= {400, 403}
            for path in ["/healthz", "/accounts/login/", "/static/chat/chat.css"]:
                assert await lone.get(path, source) == 200
            for path in paths:
                assert await lone.ask(sends(path, source), other) in {400, 403}

    background.run(try_often())


@ONE
def test_who_is_slow_is_cut_off(lone: Wire, slow: Future[list[tuple[float, float]]]) -> None:
    """Slow clients are cut off after ten seconds.

    Such clients send nothing, half a request, a byte a second, or no answer to a close frame. All
    connected with the first test, so in all tests so far the others were answered beside them.
    """
    conf = (lone.stack.folder / "site.conf").read_text()
    assert set(re.findall(r"client_(?:header|body)_timeout (\w+);", conf)) == {"10s"}
    fewest, most = zip(*slow.result(40), strict=True)
    print(f"{min(most):.1f} to {max(fewest):.1f} s")
    assert len(most) > 2000
    assert min(most) > 8
    assert max(fewest) < 13
