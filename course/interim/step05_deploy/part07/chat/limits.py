"""Limits: what one person may use, and how often a password may be wrong."""

import asyncio
import math
import threading
import time
from collections import deque
from contextlib import suppress
from weakref import WeakSet, WeakValueDictionary

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils.crypto import salted_hmac

MAX_SOCKETS = 50  # of one person in one process
MAX_FAILURES = 5  # wrong passwords for one name from one address …
FAILURES_LAST = 60  # … within this many seconds
QUEUE_LIMIT = 5  # seconds that a sign-in waits for its turn
TOO_BUSY = "Too many people sign in now. Try again in a moment."
TOO_OFTEN = "Too many wrong passwords. Try again in a minute."
# Checking a password is slow on purpose. A few at a time leave time for the chat.
checking = threading.BoundedSemaphore(4)


class RateLimit:
    """A token bucket: some frames a second, and a burst at once after a pause."""

    def __init__(self):
        self.left = settings.CHAT_MESSAGE_BURST
        self.at = self.due = time.monotonic()

    def count(self):
        """Count a frame. Return 0 if it may pass, else the seconds until its turn."""
        rate, burst = settings.CHAT_MESSAGE_RATE, settings.CHAT_MESSAGE_BURST
        now = time.monotonic()
        self.left = min(self.left + (now - self.at) * rate, burst)
        self.at = now
        if self.left >= 1:
            self.left -= 1
            return 0
        # Each refused frame has a turn of its own, after those that were refused
        # before.
        self.due = max(now + (1 - self.left) / rate, self.due + 1 / rate)
        return math.ceil((self.due - now) * 100) / 100

    @property
    def is_flooded(self):
        """Whether more than a burst was refused: the client reads no answers."""
        seconds = self.due - self.at
        return seconds * settings.CHAT_MESSAGE_RATE > settings.CHAT_MESSAGE_BURST


class Person:
    """One person in this process: the sockets, and the rate of messages."""

    # By user id. An entry goes when nothing refers to the person any more.
    people = WeakValueDictionary()
    # Remember recent people. Otherwise a new connection would bring a new burst.
    recent = deque(maxlen=1000)

    def __init__(self):
        self.messages, self.mistakes = RateLimit(), RateLimit()
        # A person's sockets read one page at a time. Threads are left for the others.
        self.reading = asyncio.Lock()
        self.consumers = WeakSet()  # of the connections that are open

    @classmethod
    def of(cls, user):
        """Return the one object for a user."""
        person = cls.people.setdefault(user.pk, cls())
        cls.recent.append(person)
        return person


class PasswordBackend(ModelBackend):
    """Check a few passwords at a time. Refuse a name after too many wrong ones.

    The sign-in form, the admin and the token view all ask it. A form shows the text of
    a ``ValidationError``.
    """

    def authenticate(self, request, username=None, password=None, **kwargs):
        """Return the user, or None. ValidationError: the person has to wait."""
        if not connection.in_atomic_block:
            connection.close()  # others may use it while we wait
        if not checking.acquire(timeout=QUEUE_LIMIT):
            raise ValidationError(TOO_BUSY)
        try:
            # Count first, so that parallel guesses all see it, and undo it on success.
            address = request.META.get("REMOTE_ADDR", "") if request else ""
            key = "chat.failures." + salted_hmac(address, f"{username}").hexdigest()
            cache.add(key, 0, timeout=FAILURES_LAST)
            with suppress(ValueError):  # the minute of the count has just ended
                failures = cache.incr(key)
                if failures == 1:  # Redis may have made a new count, without an end
                    cache.touch(key, FAILURES_LAST)
                if failures > MAX_FAILURES:
                    cache.decr(key)  # not checked: it may be the right one
                    raise ValidationError(TOO_OFTEN)
            user = super().authenticate(request, username, password, **kwargs)
            if user is not None:
                with suppress(ValueError):  # a minute is over: the count is gone
                    cache.decr(key)
            return user
        finally:
            checking.release()
