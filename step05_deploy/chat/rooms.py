"""What a room may be called, and the group that its sockets belong to."""

import hashlib

from django.urls import register_converter

ROOM_NAME_RULE = "A room name is 1 to 50 printable characters, without a slash."


class RoomNameConverter:
    """Match a room name in the path of a page or of a socket: one rule for both.

    The rule is ``ROOM_NAME_RULE``. ``.`` and ``..`` are refused too: in a path they mean "here"
    and "one up", so no browser can ask for a room of that name.
    """

    regex = r"(?!\.\.?/)[^/]{1,50}"

    def to_python(self, value):
        """Return the name as the view and the consumer get it; ValueError means no match."""
        if not value.isprintable():
            raise ValueError(ROOM_NAME_RULE)
        return value

    def to_url(self, value):
        """Return the name as ``reverse()`` puts it into a path; ValueError means no such path."""
        return self.to_python(value)


register_converter(RoomNameConverter, "room")


def group_name(room_name):
    """Return the channel-layer group of a room: at most 99 ASCII letters, digits, ``-_.``.

    A room may be called 日本語; a group may not, and a digest is good in every channel layer.
    """
    return "room." + hashlib.sha256(room_name.encode()).hexdigest()
