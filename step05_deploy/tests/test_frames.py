"""Bad input gets an error frame, and the connection goes on."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .helpers import hear, say

DEEP = "[" * 20_000 + "]" * 20_000
LONG = "1" * 10_000

BAD_FRAMES = {
    "not JSON": "hello",
    "nothing": "",
    "null": "null",
    "a list": "[]",
    "a number": "1",
    "no message": "{}",
    "another key": '{"text": "hi"}',
    "a message that is not text": '{"message": 1}',
    "a message that is null": '{"message": null}',
    "an empty message": '{"message": ""}',
    "only spaces": '{"message": " \\n\\t\\u3000"}',
    "too long": json.dumps({"message": "x" * 1001}),
    "binary": b'{"message": "hi"}',
    "empty binary": b"",
    "nested 20,000 deep": DEEP,
    "nested 20,000 deep beside a message": f'{{"message": "hi", "more": {DEEP}}}',
    "a number of 10,000 digits": LONG,
    "a number of 10,000 digits beside a message": f'{{"message": "hi", "more": {LONG}}}',
}


async def assert_it_works(socket):
    """Send a good message, and expect it back."""
    await say(socket, "still here")
    assert (await hear(socket))["message"].endswith("still here")


@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
async def test_a_bad_frame_gets_an_error_and_the_next_good_one_works(socket, frame):
    """A frame that breaks the rules is answered with a sentence, and nothing else is lost."""
    await socket.send(frame)
    reply = await hear(socket)
    assert list(reply) == ["error"]
    assert reply["error"].endswith(".")
    await assert_it_works(socket)


@pytest.mark.parametrize(
    "message", ["x" * 1000, "🎉" * 1000], ids=["letters", "emoji"]
)
async def test_a_message_may_have_1000_characters(socket, message):
    """The limit counts characters, not bytes, and is itself allowed."""
    await say(socket, message)
    assert (await hear(socket))["message"].endswith(message)


async def test_unknown_keys_are_ignored(socket):
    """A client cannot choose the event's type, or anything else, by adding keys."""
    await say(socket, "hi", type="websocket.disconnect", id=7)
    reply = await hear(socket)
    assert reply["message"].endswith("hi")
    assert "type" not in reply
    await assert_it_works(socket)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.just("message"), inner)
    ),
)
MESSAGES = st.builds(lambda text: {"message": text}, st.text() | ANY_JSON)


# All examples use one socket: the connection must survive them.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(frame=st.text() | st.binary() | (ANY_JSON | MESSAGES).map(json.dumps))
async def test_no_frame_ends_the_conversation(socket, frame):
    """Each frame gets one answer, whatever is in it, and the next message works."""
    await socket.send(frame)
    reply = await hear(socket)
    assert ("message" in reply) != ("error" in reply)
    await assert_it_works(socket)
