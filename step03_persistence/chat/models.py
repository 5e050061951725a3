"""The messages, as the database has them."""

from django.db import models


class Message(models.Model):
    """One message in a room.

    SQLite stores one message at a time, so the ids grow in the order of storing.
    """

    room = models.CharField(max_length=50)
    text = models.TextField()
    sent_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        # The index has each room's messages in order, so the end of a long history is
        # read as quickly as a short one.
        indexes = [models.Index(fields=["room", "id"])]

    def __str__(self):
        """Return the start of the text, for the lists of the admin."""
        return self.text[:50]

    def as_frame(self):
        """Return the message as clients get it.

        Text and numbers only: JSON has no datetime, and neither has a channel layer
        that sends events to other processes.
        """
        return {
            "message": self.text,
            "id": self.id,
            "sent_at": self.sent_at.isoformat(),
        }
