"""Which pages may open a socket, and which paths have one."""

import pytest
from websockets.exceptions import InvalidStatus


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None])
async def test_only_our_own_pages_may_open_a_socket(connect, origin):
    """A page of another site, or a client that names none, is refused with a 403."""
    with pytest.raises(InvalidStatus) as refused:
        await connect(origin=origin)
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("path", ["/ws/nothing/", "/ws/", "/"])
async def test_a_socket_path_that_does_not_exist_is_refused(connect, path):
    """Where there is no consumer, there is no socket; the server goes on."""
    with pytest.raises(InvalidStatus):
        await connect(path)
    assert await connect()
