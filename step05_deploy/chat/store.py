"""Storing and reading: each message has a number in its room, 1, 2, 3 … without holes.

The ids of a table are given before the commit, so they can become visible out of order: somebody
who has seen 11 may never hear of 10. The room's counter is raised inside the transaction that
stores the message, and the room's row is locked until it commits: who sees 11 can ask for 10.
"""

from dataclasses import dataclass

from django.db import IntegrityError, transaction

from .models import Message, Room, as_frame
from .threads import in_a_thread

PAGE = 500  # messages read at a time


@dataclass
class Draft:
    """A message to be stored; ``client_id`` is its client's own name for it."""

    user: object
    text: str
    client_id: str | None

    def as_message(self, room, seq):
        """Return the message to store, with its number."""
        return Message(room=room, seq=seq, user=self.user, text=self.text, client_id=self.client_id)


def store(room, drafts):
    """Store drafts, and return for each its frame and whether it is new, or an ``IntegrityError``.

    A draft whose ``client_id`` this user has used in this room before is the same message, sent
    again because the answer was lost: it is not stored again. Raises ``DatabaseError`` if nothing
    could be stored.
    """
    try:
        return store_together(room, drafts)
    except IntegrityError as error:
        if len(drafts) == 1:
            return [error]
    # One of them cannot be stored, say because its user is gone: the others can.
    return [result for draft in drafts for result in store(room, [draft])]


@transaction.atomic
def store_together(room, drafts):
    """Store all drafts, or none of them."""
    seq = Room.take_numbers(room, len(drafts))
    known = stored_before(room, drafts)
    results, new = [], []
    for draft in drafts:
        key = (draft.user.pk, draft.client_id)
        message = known.get(key)
        results.append((message or draft.as_message(room, seq + len(new)), message is None))
        if message is None:
            new.append(results[-1][0])
            if draft.client_id is not None:
                known[key] = new[-1]
    Message.objects.bulk_create(new)
    if len(new) < len(drafts):
        Room.take_numbers(room, len(new) - len(drafts))  # gives back what was not used
    return [(message.as_frame(), is_new) for message, is_new in results]


def stored_before(room, drafts):
    """Return the messages that have these users' ``client_id`` already, by both."""
    client_ids = [draft.client_id for draft in drafts if draft.client_id is not None]
    if not client_ids:
        return {}
    messages = Message.objects.select_related("user").filter(room=room, client_id__in=client_ids)
    return {(message.user_id, message.client_id): message for message in messages}


@in_a_thread
def read_after(room, seq, until):
    """Return the frames after a number, in order, at most ``PAGE`` of them, up to ``until``."""
    messages = Message.objects.filter(room=room, seq__gt=seq)
    if until is not None:
        messages = messages.filter(seq__lte=until)
    # Rows, not objects: everybody who joins reads fifty of them.
    rows = messages.order_by("seq").values_list(
        "text", "id", "seq", "sent_at", "user__username", "client_id"
    )
    return [as_frame(*row) for row in rows[:PAGE]]


@in_a_thread
def read_counters(rooms):
    """Return the number of the last message, for each room that has one."""
    return dict(Room.objects.filter(name__in=rooms).values_list("name", "seq"))
