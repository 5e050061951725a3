"""The frames of the conversation: JSON objects, in text frames."""

import json

MAX_LENGTH = 1000  # characters in a message


class FrameError(ValueError):
    """A frame from a client breaks the rules; the text says how, to the person who sent it."""


def is_text(value):
    """Return whether a value is a string that can be sent and stored.

    Half of a surrogate pair cannot be sent, and databases refuse the NUL character.
    """
    return isinstance(value, str) and not any(
        character == "\0" or "\ud800" <= character <= "\udfff" for character in value
    )


def parse_frame(text_data):
    """Return the message in a client's frame, ``{"message": "hi"}``.

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
    if not isinstance(frame, dict) or not isinstance(frame.get("message"), str):
        raise FrameError('A frame is a JSON object with a text in it: {"message": "hi"}.')

    message = frame["message"]
    if not message.strip():
        raise FrameError("The message is empty. Write something first.")
    if len(message) > MAX_LENGTH:
        raise FrameError(
            f"The message has {len(message):,} characters; {MAX_LENGTH:,} is the limit."
        )
    if not is_text(message):
        raise FrameError("The message has a character that is not text.")
    return message
