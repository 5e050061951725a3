"""The rule for room names, and the name of a room's group."""

import hashlib

from django.urls import register_converter

ROOM_NAME_RULE = "A room name is 1 to 50 printable characters, without a slash."


class RoomNameConverter:
    """Match a room name in a path. ``ROOM_NAME_RULE`` holds for pages and sockets.

    ``.`` and ``..`` are refused too. In a path they mean "here" and "one level up", so
    no browser can ask for a room of that name.
    """

    # The first brackets refuse "." and "..", the others are 1 to 50 characters.
    regex = r"(?!\.\.?/)[^/]{1,50}"

    def to_python(self, value):
        """Return the name for the view or the consumer. ValueError means: no match."""
        if not value.isprintable():
            raise ValueError(ROOM_NAME_RULE)
        return value

    def to_url(self, value):
        """Return the name for ``reverse()``. ValueError means: no such path."""
        return self.to_python(value)


register_converter(RoomNameConverter, "room")


def group_name(room_name):
    """Return the name of a room's group: at most 99 ASCII letters, digits and ``-_.``.

    A room may be called 日本語, a group may not: the channel layer raises TypeError. The
    hexadecimal digest of the room's name is valid in every channel layer.
    """
    return "room." + hashlib.sha256(room_name.encode()).hexdigest()
