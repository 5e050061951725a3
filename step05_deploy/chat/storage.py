"""Storing and reading the messages of a room, in a thread."""

from dataclasses import dataclass

from django.db import IntegrityError, transaction

from .models import Message, Room
from .threads import in_a_thread

HISTORY = 50  # messages that a client gets when it joins a room
PAGE = 500  # messages read from the database at a time


def messages_of(room):
    """Return the query for a room's messages, with the users for ``as_frame``."""
    # select_related: read the users too, in the same query.
    return Message.objects.select_related("user").filter(room=room)


@in_a_thread
def read_seq(room):
    """Return the number of a room's last message, or 0."""
    return Room.objects.filter(name=room).values_list("seq", flat=True).first() or 0


@in_a_thread
def read_seqs(rooms):
    """Return the number of the last message of each room that has one."""
    return dict(Room.objects.filter(name__in=rooms).values_list("name", "seq"))


@in_a_thread
def read_history(room, newest):
    """Return the last ``HISTORY`` frames up to a number, oldest first."""
    messages = messages_of(room).filter(seq__lte=newest).order_by("-seq")
    return [message.as_frame() for message in reversed(messages[:HISTORY])]


@in_a_thread
def read_after(room, seq, newest):
    """Return at most ``PAGE`` frames after ``seq``, up to ``newest``, oldest first."""
    messages = messages_of(room).filter(seq__gt=seq, seq__lte=newest).order_by("seq")
    return [message.as_frame() for message in messages[:PAGE]]


@dataclass
class Draft:
    """A message to store. ``client_id`` is the client's own name for it, or None."""

    room: str
    user: object
    text: str
    client_id: str | None


def store(drafts):
    """Store drafts of any rooms. Return for each its frame, and whether it is new.

    A draft that cannot be stored has an ``IntegrityError`` in the list instead: its
    user was deleted. Raises ``DatabaseError`` if the database does not work.
    """
    try:
        return store_together(drafts)
    except IntegrityError as error:
        if len(drafts) == 1:
            return [stored_before(drafts[0]) or error]
    # One of them is the cause. The others can be stored.
    half = len(drafts) // 2
    return store(drafts[:half]) + store(drafts[half:])


@transaction.atomic
def store_together(drafts):
    """Store all drafts, or none of them."""
    rooms = lock_rooms(sorted({draft.room for draft in drafts}))
    messages = []
    for draft in drafts:
        room = rooms[draft.room]
        room.seq += 1
        messages.append(Message(seq=room.seq, **vars(draft)))
    Message.objects.bulk_create(messages)
    # Write all counters with one query: each row exists, so each is updated.
    Room.objects.bulk_create(
        rooms.values(),
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["seq"],
    )
    return [(message.as_frame(), True) for message in messages]


def lock_rooms(names):
    """Return the rooms by name, locked until the transaction ends.

    Every process locks them in the same order, so that no two wait for each other.
    """
    locked = Room.objects.select_for_update().order_by("name")
    rooms = {room.name: room for room in locked.filter(name__in=names)}
    if len(rooms) < len(names):
        new = [Room(name=name) for name in names if name not in rooms]
        Room.objects.bulk_create(new, ignore_conflicts=True)
        rooms = {room.name: room for room in locked.filter(name__in=names)}
    return rooms


def stored_before(draft):
    """Return the frame of a message that the client sent again, and False; or None."""
    if draft.client_id is None:
        return None
    messages = messages_of(draft.room).filter(user=draft.user)
    message = messages.filter(client_id=draft.client_id).first()
    return message and (message.as_frame(), False)
