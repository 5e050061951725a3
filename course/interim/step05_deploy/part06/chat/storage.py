"""Storing and reading messages, in threads: see threads.py."""

from .models import Message, Room
from .threads import in_a_thread

HISTORY = 50  # messages that a client gets when it joins a room
PAGE = 100  # messages read at a time: half a megabyte at most


def messages_of(room):
    """Return the query for a room's messages, with the users for ``as_frame``."""
    # select_related: read the users too, in the same query.
    return Message.objects.select_related("user").filter(room=room)


@in_a_thread
def read_seq(room):
    """Return the number of a room's last message, or 0."""
    return Room.objects.filter(name=room).values_list("seq", flat=True).first() or 0


@in_a_thread
def read_history(room):
    """Return the room's last messages as frames, oldest first."""
    newest = messages_of(room).order_by("-seq")[:HISTORY]
    return [message.as_frame() for message in reversed(newest)]


@in_a_thread
def read_after(room, seq, newest):
    """Return at most ``PAGE`` frames after ``seq``, up to ``newest``, oldest first."""
    messages = messages_of(room).filter(seq__gt=seq, seq__lte=newest).order_by("seq")
    return [message.as_frame() for message in messages[:PAGE]]


@in_a_thread
def store(room, user, text, client_id):
    """Store a message once. Return its frame, and whether it is new."""
    fields = {"room": room, "user": user}
    if client_id is None:
        return Message.objects.create(text=text, **fields).as_frame(), True
    # A constraint of the database allows a client_id once. Of two requests at the same
    # moment, one creates the message, and the other gets it.
    message, is_new = Message.objects.get_or_create(
        client_id=client_id, defaults={"text": text}, **fields
    )
    return message.as_frame(), is_new
