"""What the chat remembers."""

from django.conf import settings
from django.db import models, transaction


class Room(models.Model):
    """How many messages a room has had. Rooms without a message have no row."""

    name = models.CharField(primary_key=True, max_length=50)
    seq = models.BigIntegerField(default=0)

    def __str__(self):
        """Return the name."""
        return self.name

    @classmethod
    def take_numbers(cls, name, count):
        """Take numbers for ``count`` messages, and return the first, in a transaction of yours.

        Until that ends the row is locked: numbers become visible in their order, and if it fails,
        they are free again.
        """
        this = cls.objects.filter(name=name)
        if not this.update(seq=models.F("seq") + count):
            cls.objects.bulk_create([cls(name=name)], ignore_conflicts=True)
            this.update(seq=models.F("seq") + count)
        return this.values_list("seq", flat=True).get() - count + 1


class Message(models.Model):
    """One message in a room."""

    room = models.CharField(max_length=50)
    # The message's number in its room: 1, 2, 3 … An id says little: it is given before the
    # message can be seen, so a smaller one may still appear after a greater one.
    seq = models.BigIntegerField(editable=False)
    # Null for messages older than this field, and when the user is deleted: what was said stays.
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    text = models.TextField()
    sent_at = models.DateTimeField(auto_now_add=True)
    # Null, not empty, without one: no two may be equal, but for nulls.
    client_id = models.CharField(max_length=64, null=True, editable=False)  # noqa: DJ001

    class Meta:
        constraints = [
            # Also the index for reading a room in order.
            models.UniqueConstraint(fields=["room", "seq"], name="one_message_per_number"),
            models.UniqueConstraint(
                fields=["room", "user", "client_id"], name="one_message_per_client_id"
            ),
        ]

    def __str__(self):
        """Return the start of the text, for the admin's lists."""
        return self.text[:50]

    def save(self, *args, **kwargs):
        """Store one message, with a number of its room. Many at once: see store.py."""
        with transaction.atomic():
            if self.seq is None:
                self.seq = Room.take_numbers(self.room, 1)
            super().save(*args, **kwargs)

    def as_frame(self):
        """Return the message as clients get it."""
        username = self.user.get_username() if self.user else None
        return as_frame(self.text, self.id, self.seq, self.sent_at, username, self.client_id)


def as_frame(text, message_id, seq, sent_at, username, client_id):
    """Return a message as clients get it: text, numbers and strings only.

    JSON knows no datetime, and neither does a channel layer that leaves the process.
    """
    return {
        "message": text,
        "id": message_id,
        "seq": seq,
        "sent_at": sent_at.isoformat(),
        "username": username or "(unknown)",
        "client_id": client_id,
    }
