"""The rules for frames: JSON objects in text frames."""

import json

MAX_LENGTH = 1000  # characters in a message


class FrameError(ValueError):
    """A client's frame breaks the rules. The message is shown to that client."""


def is_text(value):
    """Return whether a value is a string that a database can store.

    JSON can carry two things that a database refuses: the NUL character, and a lone
    surrogate, which is half of a character.
    """
    return isinstance(value, str) and not any(
        character == "\0" or "\ud800" <= character <= "\udfff" for character in value
    )


def parse_frame(text_data):
    """Return the message in a client's frame, ``{"message": "hi"}``.

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
        raise FrameError('Send a JSON object: {"message": "hi"}.')
    return check_message(frame.get("message"))


def check_message(message):
    """Return the message if it keeps the rules. Raises ``FrameError``."""
    if not isinstance(message, str):
        raise FrameError('Send an object with a text: {"message": "hi"}.')
    if not message.strip():
        raise FrameError("The message is empty. Write something first.")
    if len(message) > MAX_LENGTH:
        length = f"{len(message):,} characters"
        raise FrameError(f"The message has {length}. The limit is {MAX_LENGTH:,}.")
    if not is_text(message):
        raise FrameError("The message has a character that cannot be stored.")
    return message
