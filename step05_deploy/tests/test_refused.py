"""A socket path that does not exist."""

import pytest
from websockets.exceptions import InvalidStatus


@pytest.mark.parametrize("path", ["/ws/nothing/", f"/ws/chat/{'x' * 51}/", "/"])
async def test_an_unknown_path_is_refused_in_silence(server, connect, path):
    """Whoever knocks at doors that do not exist fills no log with tracebacks."""
    before = len(server.log.read_text())
    with pytest.raises(InvalidStatus) as refused:
        await connect(path)
    assert refused.value.response.status_code == 403
    assert "Traceback" not in server.log.read_text()[before:]
