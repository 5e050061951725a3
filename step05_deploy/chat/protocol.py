"""The rules for frames: JSON objects in text frames."""

import json

MAX_LENGTH = 1000  # characters in a message
MAX_CLIENT_ID = 64  # characters in a client's own name for a message


class FrameError(ValueError):
    """A client's frame breaks the rules. The message is shown to that client.

    ``client_id`` tells the client which of its frames it was. ``retry_after`` tells it
    to send the same frame again after so many seconds.
    """

    def __init__(self, sentence, client_id=None, retry_after=None):
        """Take the sentence for the person, and the facts for the client."""
        super().__init__(sentence)
        self.client_id = client_id
        self.retry_after = retry_after

    def as_frame(self):
        """Return the error frame."""
        frame = {"error": str(self)}
        if self.client_id is not None:
            frame["client_id"] = self.client_id
            if self.retry_after is not None:
                frame["retry_after"] = self.retry_after
        return frame


def is_text(value):
    """Return whether a value is a string that a database can store.

    JSON can carry two things that a database refuses: the NUL character, and a lone
    surrogate, which is half of a character.
    """
    return isinstance(value, str) and not any(
        character == "\0" or "\ud800" <= character <= "\udfff" for character in value
    )


def parse_frame(text_data):
    """Return the message and the ``client_id`` (or None) in a client's frame.

    ``text_data`` is the frame's text, or None if the frame was binary. Unknown keys
    are ignored. Raises ``FrameError`` for anything but a message of 1 to
    ``MAX_LENGTH`` characters.
    """
    if text_data is None:
        raise FrameError("Send text, not binary data.")
    try:
        frame = json.loads(text_data)
    except (ValueError, RecursionError):
        # ValueError: the text is not JSON, or has a number of thousands of digits.
        # RecursionError: thousands of brackets are nested.
        raise FrameError('This is not valid JSON. Try {"message": "hi"}.') from None
    if not isinstance(frame, dict):
        frame = {}
    client_id = frame.get("client_id")
    if client_id is not None and not (
        is_text(client_id) and 1 <= len(client_id) <= MAX_CLIENT_ID
    ):
        raise FrameError(f"A client_id is a text of 1 to {MAX_CLIENT_ID} characters.")
    message = frame.get("message")
    if not isinstance(message, str):
        error = 'Send a JSON object with a text: {"message": "hi"}.'
        raise FrameError(error, client_id)
    if not message.strip():
        raise FrameError("The message is empty. Write something first.", client_id)
    if len(message) > MAX_LENGTH:
        length = f"{len(message):,} characters"
        error = f"The message has {length}. The limit is {MAX_LENGTH:,}."
        raise FrameError(error, client_id)
    if not is_text(message):
        error = "The message has a character that cannot be stored."
        raise FrameError(error, client_id)
    return message, client_id
