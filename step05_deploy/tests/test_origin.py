"""Which pages may open a socket, and which paths have one."""

import asyncio

import pytest
from websockets.exceptions import InvalidStatus


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None])
async def test_only_our_own_pages_may_open_a_socket(connect, origin):
    """A page of another site, or a client that names none, is refused with a 403."""
    with pytest.raises(InvalidStatus) as refused:
        await connect(origin=origin)
    assert refused.value.response.status_code == 403


async def test_a_socket_path_that_does_not_exist_is_refused(connect):
    """Where there is no consumer, there is no socket; the server goes on."""
    # All at once: Daphne looks once a second for applications that have failed.
    tries = [connect(path) for path in ["/ws/nothing/", "/ws/", "/"]]
    for refused in await asyncio.gather(*tries, return_exceptions=True):
        assert isinstance(refused, InvalidStatus)
    assert await connect()
