"""Text that a database refuses gets an error frame."""

import pytest

from .helpers import hear, say

REFUSED = {"half a surrogate pair": "\ud800", "a NUL character": "a\0b"}


@pytest.mark.parametrize("message", REFUSED.values(), ids=REFUSED.keys())
async def test_text_that_cannot_be_stored_gets_an_error(socket, message):
    """JSON can carry such text and a database cannot. The next message is stored."""
    await say(socket, message)
    assert list(await hear(socket)) == ["error"]
    await say(socket, "still here")
    assert (await hear(socket))["message"] == "still here"
