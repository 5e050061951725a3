"""Limits: what one person may use, and how often a password may be wrong."""

import math
import threading
import time
from weakref import WeakSet, WeakValueDictionary

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.forms import AuthenticationForm
from django.core.cache import cache
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.utils.crypto import salted_hmac

MAX_SOCKETS = 50  # of one person in one process
MAX_FAILURES = 5  # wrong passwords for one name from one address …
FAILURES_LAST = 60  # … within this many seconds
QUEUE_LIMIT = 5  # seconds that a sign-in waits for its turn
# Checking a password is slow on purpose. A few at a time leave the processor to the
# chat.
checking = threading.BoundedSemaphore(4)


class RateLimit:
    """A token bucket: some frames a second, and a burst at once after a pause."""

    def __init__(self):
        self.left = settings.CHAT_MESSAGE_BURST
        self.refused = 0
        self.at = time.monotonic()

    def wait(self):
        """Count a frame. Return 0 if it may pass, else the seconds until its turn."""
        now = time.monotonic()
        earned = (now - self.at) * settings.CHAT_MESSAGE_RATE
        self.at = now
        self.left = min(self.left + earned, settings.CHAT_MESSAGE_BURST)
        self.refused = max(self.refused - earned, 0)
        if self.left >= 1:
            self.left -= 1
            return 0
        # Each refused frame has a turn of its own: a client that waits so long passes.
        seconds = (1 - self.left + self.refused) / settings.CHAT_MESSAGE_RATE
        self.refused += 1
        return math.ceil(seconds * 100) / 100

    @property
    def is_flooded(self):
        """Whether more than a burst was refused: the client reads no answers."""
        return self.refused > settings.CHAT_MESSAGE_BURST


class Person:
    """What one person uses in this process, on all devices together."""

    # By user id. An entry goes when no consumer refers to the person any more.
    people = WeakValueDictionary()

    def __init__(self):
        self.messages, self.mistakes = RateLimit(), RateLimit()
        self.consumers = WeakSet()  # forgets a consumer that ended, however it ended

    @classmethod
    def of(cls, user):
        """Return the one object for a user."""
        return cls.people.setdefault(user.pk, cls())


class PasswordBackend(ModelBackend):
    """Check a few passwords at a time. Refuse a name after too many wrong ones.

    For the form, the admin and the token view. ``request.must_wait`` tells the reason.
    """

    def authenticate(self, request, username=None, password=None, **kwargs):
        """Return the user, or None. PermissionDenied: the person has to wait."""
        if not connection.in_atomic_block:
            connection.close()  # others may use it while we wait
        if not checking.acquire(timeout=QUEUE_LIMIT):
            request.must_wait = "Too many people sign in now. Try again in a moment."
            raise PermissionDenied
        try:
            # Count first, so that parallel guesses all see it, and undo it on success.
            address = request.META["REMOTE_ADDR"] if request else ""
            key = "chat.failures." + salted_hmac(address, f"{username}").hexdigest()
            cache.add(key, 0, timeout=FAILURES_LAST)
            if cache.incr(key) > MAX_FAILURES:
                request.must_wait = "Too many wrong passwords. Try again in a minute."
                raise PermissionDenied
            user = super().authenticate(request, username, password, **kwargs)
            if user is not None:
                cache.decr(key)
            return user
        finally:
            checking.release()


class SignInForm(AuthenticationForm):
    """Django's sign-in form, which also says why a person has to wait."""

    def get_invalid_login_error(self):
        """Return the error for the page."""
        if hasattr(self.request, "must_wait"):
            return ValidationError(self.request.must_wait)
        return super().get_invalid_login_error()
