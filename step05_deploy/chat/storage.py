"""Storing and reading messages, in threads: see threads.py."""

from dataclasses import dataclass

from django.db import IntegrityError, transaction

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
def read_seqs(rooms):
    """Return the number of the last message of each room that has one."""
    return dict(Room.objects.filter(name__in=rooms).values_list("name", "seq"))


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


@dataclass
class Draft:
    """A message to store. ``client_id`` is the client's own name for it, or None."""

    room: str
    user: object
    text: str
    client_id: str | None

    @property
    def key(self):
        """Return what two drafts of the same message have in common."""
        return self.room, self.user.pk, self.client_id


def store(drafts):
    """Store drafts of any rooms. Return for each its frame, and whether it is new.

    A draft that cannot be stored has an ``IntegrityError`` in the list instead: its
    user was deleted. Raises ``DatabaseError`` if the database does not work.
    """
    try:
        return store_together(drafts)
    except Room.DoesNotExist:
        # Create rooms outside the transaction. Inside, with other rows locked, two
        # processes could wait for each other.
        new = [Room(name=name) for name in sorted({draft.room for draft in drafts})]
        Room.objects.bulk_create(new, ignore_conflicts=True)
        return store(drafts)
    except IntegrityError as error:
        if len(drafts) == 1:
            return [error]
    # One draft cannot be stored. The others can: halves find it quickly.
    half = len(drafts) // 2
    return store(drafts[:half]) + store(drafts[half:])


@transaction.atomic
def store_together(drafts):
    """Store all drafts, or none. Raises ``Room.DoesNotExist`` if a room has no row."""
    names = {draft.room for draft in drafts}
    # All processes lock in the same order, so no two wait for each other.
    locked = Room.objects.select_for_update().filter(name__in=names).order_by("name")
    rooms = {room.name: room for room in locked}
    if len(rooms) < len(names):
        raise Room.DoesNotExist
    messages = stored_before(drafts)
    results, new = [], []
    for draft in drafts:
        message = messages.get(draft.key)
        is_new = message is None
        if is_new:
            rooms[draft.room].seq += 1
            message = Message(seq=rooms[draft.room].seq, **vars(draft))
            new.append(message)
            if draft.client_id is not None:
                messages[draft.key] = message
        results.append((message, is_new))
    Message.objects.bulk_create(new)
    # Update all counters with one query: the rows exist, so each insert is a conflict.
    Room.objects.bulk_create(
        rooms.values(),
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["seq"],
    )
    return [(message.as_frame(), is_new) for message, is_new in results]


def stored_before(drafts):
    """Return the messages that clients have sent again, by the key of their drafts."""
    messages = Message.objects.select_related("user").filter(
        client_id__in={draft.client_id for draft in drafts} - {None},
        user__in={draft.user.pk for draft in drafts},
        room__in={draft.room for draft in drafts},
    )
    return {(m.room, m.user_id, m.client_id): m for m in messages}
