"""The messages, as the database has them."""

from django.conf import settings
from django.db import models, transaction


class Room(models.Model):
    """The counter of a room's messages. A room without messages has no row."""

    name = models.CharField(primary_key=True, max_length=50)
    seq = models.BigIntegerField(default=0)  # the number of the last message

    def __str__(self):
        """Return the name, for the lists of the admin."""
        return self.name

    @classmethod
    def next_seq(cls, name):
        """Return the next number of a room. The caller opens the transaction.

        The row stays locked until the transaction ends, so numbers become visible in
        their order. If the transaction fails, the next one gets the same number.
        """
        room, _ = cls.objects.select_for_update().get_or_create(name=name)
        room.seq += 1
        room.save()
        return room.seq


class Message(models.Model):
    """One message in a room."""

    room = models.CharField(max_length=50)
    # The number in the room: 1, 2, 3 … without holes. Ids are no such numbers: they
    # are given before the commit, so 10 may become visible after 11.
    seq = models.BigIntegerField(editable=False)
    # NULL for messages that are older than this field, and after the user was deleted:
    # the message stays.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL
    )
    text = models.TextField()
    sent_at = models.DateTimeField(auto_now_add=True)
    # The client's own name for the message. NULL when there is none: a unique
    # constraint allows many NULLs.
    client_id = models.CharField(  # noqa: DJ001
        max_length=64, null=True, editable=False
    )

    class Meta:
        constraints = [
            # Its index also has each room's messages in order.
            models.UniqueConstraint(
                fields=["room", "seq"], name="one_message_per_number"
            ),
            # client_id first: its index finds a message by client_id quickly.
            models.UniqueConstraint(
                fields=["client_id", "user", "room"], name="one_message_per_client_id"
            ),
        ]

    def __str__(self):
        """Return the start of the text, for the lists of the admin."""
        return self.text[:50]

    def save(self, *args, **kwargs):
        """Store the message, a new one with the next number of its room."""
        with transaction.atomic():
            if self.seq is None:
                self.seq = Room.next_seq(self.room)
            super().save(*args, **kwargs)

    def as_frame(self):
        """Return the message as clients get it.

        Text and numbers only: JSON has no datetime, and neither has a channel layer
        that sends events to other processes.
        """
        return {
            "message": self.text,
            "id": self.id,
            "seq": self.seq,
            "sent_at": self.sent_at.isoformat(),
            "client_id": self.client_id,
            "username": self.user.get_username() if self.user else "(unknown)",
        }
