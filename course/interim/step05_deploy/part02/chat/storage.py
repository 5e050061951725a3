"""Storing and reading messages, in threads: see threads.py."""

from .models import Message
from .threads import in_a_thread

HISTORY = 50  # messages that a client gets when it joins a room


def messages_of(room):
    """Return the query for a room's messages, with the users for ``as_frame``."""
    # select_related: read the users too, in the same query.
    return Message.objects.select_related("user").filter(room=room)


@in_a_thread
def read_history(room):
    """Return the room's last messages as frames, oldest first."""
    newest = messages_of(room).order_by("-id")[:HISTORY]
    return [message.as_frame() for message in reversed(newest)]


@in_a_thread
def store(room, user, text):
    """Store one message, and return it as a frame."""
    return Message.objects.create(room=room, user=user, text=text).as_frame()
