"""Any frame and any bytes end well: with an answer, and never with an internal error."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection

from course.checks.production.crowd import Background
from course.checks.production.prepared import Place
from course.checks.production.wire import LINUX, Wire, close_code, frame, hear, say
from course.stack.stack import SERVERS

pytestmark = [
    LINUX,
    pytest.mark.parametrize("place", SERVERS, indirect=True),
]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("message"), inner),
)
KEYS = st.fixed_dictionaries(
    {"message": st.text(min_size=1) | ANY_JSON}, optional={"client_id": st.text() | ANY_JSON}
)
ON_THE_WIRE = st.lists(
    st.builds(
        frame,
        st.integers(0, 15),
        st.binary(max_size=200) | KEYS.map(lambda value: json.dumps(value).encode()),
        fin=st.booleans(),
        reserved=st.sampled_from([0, 0, 0, 1, 4]),
        masked=st.sampled_from([True, True, True, False]),
        length=st.none() | st.integers(0, (1 << 64) - 1),
    )
    | st.binary()
).map(b"".join)


@pytest.fixture
def wire(place: Place) -> Iterator[Wire]:
    """Let clients send any bytes to the shared stack, and check its logs after each test."""
    wire = Wire(place.stack)
    with wire.quiet():
        yield wire


def test_any_frame_is_answered(wire: Wire, background: Background) -> None:
    """Any frame gets a message or an error, and the same connection takes the next frame."""

    async def enter() -> ClientConnection:
        return await wire.enter("anything")

    socket: ClientConnection = background.run(enter())

    async def talk(sent: str | bytes) -> None:
        await socket.send(sent)
        reply = await hear(socket)
        assert ("message" in reply) != ("error" in reply)
        await say(socket, "still here")
        assert (await hear(socket))["message"] == "still here"

    @settings(deadline=None, database=None)
    @given(sent=st.text() | st.binary() | (ANY_JSON | KEYS).map(json.dumps))
    def answered(sent: str | bytes) -> None:
        background.run(talk(sent))

    answered()
    background.run(socket.close())


def test_any_bytes_end_well(wire: Wire, background: Background) -> None:
    """After any bytes, the server sends only valid frames, and never closes with 1011."""

    @settings(deadline=None, database=None, max_examples=60)
    @given(sent=ON_THE_WIRE)
    def ended(sent: bytes) -> None:
        assert close_code(background.run(wire.wire(sent, hang_up=True))) != 1011

    ended()
