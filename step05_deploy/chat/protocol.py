"""The frames of the conversation: JSON objects, in text frames."""

import json
import math

MAX_LENGTH = 1000  # characters in a message
MAX_CLIENT_ID = 64  # characters in a client's own name for a message

# Close codes: 4000 to 4999 are for applications, the others have names of their own in RFC 6455 and
# the list that it began.
SIGNED_OUT = 4001  # not signed in, or no longer
FLOODING = 1008  # policy violation: it went on sending
RESTARTING = 1012  # the server stops: come back in a moment
TOO_SLOW = 1013  # try again later: come back, and ask for what was missed


class FrameError(ValueError):
    """A frame from a client breaks the rules; the text says how, to the person who sent it.

    With ``client_id``, the client knows which of its frames it was, and with ``retry_after``,
    that the same frame may be good so many seconds later.
    """

    def __init__(self, sentence, client_id=None, retry_after=None):
        """Take the sentence, and what else is known."""
        super().__init__(sentence)
        self.client_id = client_id
        self.retry_after = retry_after

    def as_frame(self):
        """Return the answer to the frame."""
        frame = {"error": str(self)}
        if self.client_id is not None:
            frame["client_id"] = self.client_id
            if self.retry_after is not None:
                frame["retry_after"] = math.ceil(self.retry_after * 100) / 100
        return frame


def is_text(value):
    """Return whether a value is a string that can be sent and stored.

    Half of a surrogate pair cannot be sent, and databases refuse the NUL character.
    """
    return isinstance(value, str) and not any(
        character == "\0" or "\ud800" <= character <= "\udfff" for character in value
    )


def parse_frame(text_data):
    """Return the message and the ``client_id`` in a client's frame; the latter may be None.

    ``text_data`` is the frame's text, or None if the frame was binary. Keys we do not know
    are ignored. Raises ``FrameError`` for anything that is not a message of 1 to
    ``MAX_LENGTH`` characters.
    """
    if text_data is None:
        raise FrameError("Send text, not binary data.")
    try:
        frame = json.loads(text_data)
    except (ValueError, RecursionError):
        # ValueError: not JSON, or a number of thousands of digits.
        # RecursionError: thousands of brackets inside each other.
        raise FrameError('That is not JSON this server reads. Try {"message": "hi"}.') from None
    if not isinstance(frame, dict):
        frame = {}
    client_id = frame.get("client_id")
    if client_id is not None and not (is_text(client_id) and 1 <= len(client_id) <= MAX_CLIENT_ID):
        raise FrameError(f"A client_id is a text of 1 to {MAX_CLIENT_ID} characters.")
    if not isinstance(frame.get("message"), str):
        raise FrameError(
            'A frame is a JSON object with a text in it: {"message": "hi"}.', client_id
        )

    message = frame["message"]
    if not message.strip():
        raise FrameError("The message is empty. Write something first.", client_id)
    if len(message) > MAX_LENGTH:
        raise FrameError(
            f"The message has {len(message):,} characters; {MAX_LENGTH:,} is the limit.", client_id
        )
    if not is_text(message):
        raise FrameError("The message has a character that is not text.", client_id)
    return message, client_id
