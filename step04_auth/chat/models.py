"""What the chat remembers."""

from django.conf import settings
from django.db import models


class Message(models.Model):
    """One message in a room. SQLite stores one at a time, so ids grow in the order of storing."""

    room = models.CharField(max_length=50)
    # Null for messages older than this field, and when the user is deleted: what was said stays.
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    text = models.TextField()
    sent_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        # The history of one room is read from the end: this index is already in that order.
        indexes = [models.Index(fields=["room", "id"])]

    def __str__(self):
        """Return the start of the text, for the admin's lists."""
        return self.text[:50]

    def as_frame(self):
        """Return the message as clients get it: text, numbers and strings only.

        JSON knows no datetime, and neither does a channel layer that leaves the process.
        """
        return {
            "message": self.text,
            "id": self.id,
            "sent_at": self.sent_at.isoformat(),
            "username": self.user.get_username() if self.user else "(unknown)",
        }
