"""What happens on a socket: a consumer is to a conversation what a view is to a request."""

import json
import logging

from channels.generic.websocket import WebsocketConsumer

from .protocol import FrameError, parse_frame

logger = logging.getLogger(__name__)


class EchoConsumer(WebsocketConsumer):
    """Answer each message of one client, for as long as it stays.

    Takes ``{"message": "hi"}`` and sends ``{"message": "Echo: hi"}``. A frame that breaks the
    rules gets ``{"error": "…"}``, and the conversation goes on.
    """

    def connect(self):
        """Welcome the client. A consumer that never accepts keeps it waiting, then loses it."""
        self.accept()
        logger.info("connect %s", self.scope["path"])

    def receive(self, text_data=None, bytes_data=None):
        """Answer one frame: text in ``text_data``, or binary in ``bytes_data``.

        Both parameters are needed: a binary frame would end in a TypeError without the second.
        """
        try:
            message = parse_frame(text_data)
        except FrameError as error:
            # Caught here, because an exception that leaves a consumer ends the connection.
            self.send(json.dumps({"error": str(error)}))
            return
        self.send(json.dumps({"message": f"Echo: {message}"}))

    def disconnect(self, code):
        """Notice that the client has gone. 1001: its tab was closed or left the page."""
        logger.info("disconnect %s %s", self.scope["path"], code)
