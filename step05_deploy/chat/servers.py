"""What this chat needs of Daphne and uvicorn, and neither does by itself."""

import asyncio

from daphne.server import Server
from daphne.ws_protocol import WebSocketProtocol as Daphne
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol as Uvicorn

UNREAD = 64 * 1024  # bytes that may wait for a client before nothing more is sent to it
GOODBYE = 3  # seconds that a client has to answer a close frame


def close(self, code=None):
    """Send a close frame with any code, as Daphne itself does for 1011.

    Its WebSocket library lets applications close with 1000 and with 3000 to 4999 only. Codes such
    as 1012 (restarting) and 1013 (try again later) are for servers, it says, and raises an
    exception: the client would see 1006. But here it is the application that knows why.

    It also waits until the clock begins the next second, which may be at once, before it breaks
    the connection off: too soon for a browser that is busy, which would see 1006 as well.
    """
    self.closeHandshakeTimeout = GOODBYE
    self.sendCloseFrame(code=1000 if code is None else code)


def too_large(self, *about):
    """Close with 1009, as uvicorn does, where Daphne breaks the connection off (at 1 MiB).

    A client that sees 1006 would connect again, and send the same once more.
    """
    self.failedByMe = True  # what is left of the frame is not kept
    close(self, 1009)


def unread(protocol):
    """Return how many bytes Daphne has for a client that does not take them."""
    return len(protocol.transport.dataBuffer) + protocol.transport._tempDataLen


async def reply(self, protocol, message, reply=Server.handle_reply):
    """Send an event once the client has read most of what came before; OSError if it has gone.

    So does uvicorn. Daphne takes everything at once: of a client that reads nothing, all that it
    has missed would be in memory, and a client that has gone would be sent all of it.
    """

    def is_there():
        return protocol in self.connections and "disconnected" not in self.connections[protocol]

    if isinstance(protocol, Daphne) and message["type"] == "websocket.send":
        # Twisted tells nobody when the client has read.
        while is_there() and unread(protocol) > UNREAD:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        if not is_there():
            raise OSError("the client has gone")
    await reply(self, protocol, message)


# Each ping is to be answered, and the answers wait in memory: a client that sends pings and reads
# nothing would fill it. The protocol lets a server leave out answers (RFC 6455, section 5.5.3).


def answer_ping_daphne(self, payload, answer=Daphne.onPing):
    """Answer a ping, unless the client does not read."""
    if unread(self) < UNREAD:
        answer(self, payload)


def answer_ping_uvicorn(self):
    """Answer a ping, unless the client does not read."""
    pong = b"".join(self.conn.data_to_send())
    if self.writable.is_set():
        self.transport.write(pong)


Server.handle_reply = reply
Daphne.serverClose = close
Daphne._max_message_size_exceeded = too_large
Daphne.onPing = answer_ping_daphne
Uvicorn.handle_ping = answer_ping_uvicorn
