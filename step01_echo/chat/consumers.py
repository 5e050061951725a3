"""The consumer: it is to a connection what a view is to a request."""

import json
import logging

from channels.generic.websocket import WebsocketConsumer

from .protocol import FrameError, parse_frame

logger = logging.getLogger(__name__)


class EchoConsumer(WebsocketConsumer):
    """Answer each message of one client, for as long as the client stays connected.

    Takes ``{"message": "hi"}`` and sends ``{"message": "Echo: hi"}``. A frame that
    breaks the rules gets ``{"error": "…"}``, and the connection stays open.
    """

    def connect(self):
        """Accept the handshake.

        If ``connect`` never calls ``accept()``, the browser waits until the handshake
        times out.
        """
        self.accept()
        logger.info("connect %s", self.scope["path"])

    def receive(self, text_data=None, bytes_data=None):
        """Answer one frame: text in ``text_data``, or binary in ``bytes_data``.

        Channels passes one of the two. Without ``bytes_data``, a binary frame raises
        TypeError.
        """
        try:
            message = parse_frame(text_data)
        except FrameError as error:
            # An exception that leaves a consumer ends the connection, so we catch it.
            self.send(json.dumps({"error": str(error)}))
            return
        self.send(json.dumps({"message": f"Echo: {message}"}))

    def disconnect(self, code):
        """Log that the client has gone. 1001: its tab was closed or left the page."""
        logger.info("disconnect %s %s", self.scope["path"], code)
