"""What this chat needs of Daphne and uvicorn, and neither does by itself."""

from daphne.ws_protocol import WebSocketProtocol as Daphne
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol as Uvicorn

UNREAD = 64 * 1024  # bytes that may wait for a client before it gets no more answers to pings


def close(self, code=None):
    """Send a close frame with any code, as Daphne itself does for 1011.

    Its WebSocket library lets applications close with 1000 and with 3000 to 4999 only. Codes such
    as 1012 (restarting) and 1013 (try again later) are for servers, it says, and raises an
    exception: the client would see 1006. But here it is the application that knows why.
    """
    self.sendCloseFrame(code=1000 if code is None else code)


# Each ping is to be answered, and the answers wait in memory: a client that sends pings and reads
# nothing would fill it. The protocol lets a server leave out answers (RFC 6455, section 5.5.3).


def answer_ping_daphne(self, payload, answer=Daphne.onPing):
    """Answer a ping, unless the client does not read."""
    if len(self.transport.dataBuffer) + self.transport._tempDataLen < UNREAD:
        answer(self, payload)


def answer_ping_uvicorn(self):
    """Answer a ping, unless the client does not read."""
    pong = b"".join(self.conn.data_to_send())
    if self.writable.is_set():
        self.transport.write(pong)


Daphne.serverClose = close
Daphne.onPing = answer_ping_daphne
Uvicorn.handle_ping = answer_ping_uvicorn
