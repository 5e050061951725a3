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
        self.refused = 0
        self.at = time.monotonic()

    def wait(self):
        """Count a frame: return 0 if it may pass, else the seconds until its turn comes.

        Each refused frame has a turn of its own, and costs nothing: who comes back as told passes.
        """
        now = time.monotonic()
        earned = (now - self.at) * settings.CHAT_MESSAGE_RATE
        self.at = now
        self.left = min(self.left + earned, settings.CHAT_MESSAGE_BURST)
        self.refused = max(self.refused - earned, 0)
        if self.left >= 1:
            self.left -= 1
            return 0
        seconds = (1 - self.left + self.refused) / settings.CHAT_MESSAGE_RATE
        self.refused += 1
        return seconds

    @property
    def flooded(self):
        """Whether more than a burst was refused: nobody reads the answers."""
        return self.refused > settings.CHAT_MESSAGE_BURST
