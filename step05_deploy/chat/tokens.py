"""Tokens for sockets: signed, valid for thirty seconds and for one connection.

A token in a URL may end up in a log. It has expired before anybody reads it there.
"""

import secrets

from django.contrib.auth import get_user_model
from django.core import signing
from django.core.cache import cache

LIFETIME = 30  # seconds
REMEMBERED = 10 * LIFETIME  # the clock that made a token may be ahead of ours
# A signature for another purpose has another salt, and fails here.
SALT = "chat.tokens"


def make_token(user):
    """Return a token that opens one socket for ``user``."""
    return signing.dumps({"user": user.pk, "id": secrets.token_urlsafe()}, salt=SALT)


def redeem_token(token):
    """Return the active user of a token; None if it is forged, expired or used."""
    try:
        content = signing.loads(token, salt=SALT, max_age=LIFETIME)
    except signing.BadSignature:  # also raised for an expired token
        return None
    # add() is atomic: of two requests with the same token, one fails.
    if not cache.add(f"chat.token.{content['id']}", "used", timeout=REMEMBERED):
        return None
    return get_user_model().objects.filter(pk=content["user"], is_active=True).first()
