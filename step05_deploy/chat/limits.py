"""How much one connection may send: enough for a person who is in a hurry, not for a flood."""

import time

from django.conf import settings


class RateLimit:
    """A token bucket: so many frames per second, and so many at once after a pause.

    The numbers are the settings ``CHAT_MESSAGE_RATE`` and ``CHAT_MESSAGE_BURST``.
    """

    def __init__(self):
        """Start full."""
        self.left = settings.CHAT_MESSAGE_BURST
        self.at = time.monotonic()
        self.refused = 0  # frames in a row

    def wait(self):
        """Count a frame: return 0 if it may pass, or the seconds until one may."""
        now = time.monotonic()
        self.left += (now - self.at) * settings.CHAT_MESSAGE_RATE
        self.left = min(self.left, settings.CHAT_MESSAGE_BURST)
        self.at = now
        if self.left < 1:
            self.refused += 1
            return (1 - self.left) / settings.CHAT_MESSAGE_RATE
        self.left -= 1
        self.refused = 0
        return 0

    @property
    def flooded(self):
        """Whether so many frames in a row were refused that nobody is reading the answers."""
        return self.refused > settings.CHAT_MESSAGE_BURST
