"""Paths that do not exist: each socket there is refused, and the log stays short."""

import pytest
from websockets.exceptions import InvalidStatus


@pytest.mark.parametrize("path", ["/ws/nothing/", f"/ws/chat/{'x' * 51}/", "/"])
async def test_an_unknown_path_is_refused_without_a_traceback(server, connect, path):
    """A client that tries many paths gets a 403 each time, and fills no log."""
    before = len(server.log.read_text())
    with pytest.raises(InvalidStatus) as refused:
        await connect(path)
    assert refused.value.response.status_code == 403
    assert "Traceback" not in server.log.read_text()[before:]
