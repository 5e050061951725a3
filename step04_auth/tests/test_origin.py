"""Only our own pages may open a socket, and only on paths that have one."""

import asyncio

import pytest
from websockets.exceptions import InvalidStatus


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None])
async def test_only_our_own_pages_may_open_a_socket(connect, origin):
    """A page of another site, or a client without an Origin, is refused with HTTP 403."""
    with pytest.raises(InvalidStatus) as refused:
        await connect(origin=origin)
    assert refused.value.response.status_code == 403


async def test_a_socket_path_that_does_not_exist_is_refused(connect):
    """A path without a consumer has no socket, and the server goes on."""
    # All at once: Daphne looks for failed applications only once a second.
    tries = [connect(path) for path in ["/ws/nothing/", "/ws/", "/"]]
    for refused in await asyncio.gather(*tries, return_exceptions=True):
        assert isinstance(refused, InvalidStatus)
    assert await connect()
