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

    def wait(self):
        """Count a frame: return 0 if it may pass, else the seconds until one may."""
        now = time.monotonic()
        self.left += (now - self.at) * settings.CHAT_MESSAGE_RATE
        self.left = min(self.left, settings.CHAT_MESSAGE_BURST) - 1
        self.at = now
        return 0 if self.left >= 0 else (1 - self.left) / settings.CHAT_MESSAGE_RATE

    @property
    def flooded(self):
        """Whether a whole burst was refused, too: nobody reads the answers."""
        return self.left < -settings.CHAT_MESSAGE_BURST
