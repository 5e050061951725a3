"""Daphne, made to send every close code.

Its WebSocket library lets an application close with 1000 and with 3000 to 4999 only. Codes such
as 1012 (restarting) and 1013 (try again later) are for servers, it says, and raises an exception:
the client would see 1006. But here it is the application that knows why.
"""

from daphne.ws_protocol import WebSocketProtocol


def close(self, code=None):
    """Send a close frame with any code; Daphne itself does it like this for 1011."""
    self.sendCloseFrame(code=1000 if code is None else code)


WebSocketProtocol.serverClose = close
