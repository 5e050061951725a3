"""Tokens for sockets: signed, good for one connection, and for thirty seconds.

A token in a URL may end up in a server's log. This one is worthless by the time that somebody
reads it there.
"""

import secrets

from django.contrib.auth import get_user_model
from django.core import signing
from django.core.cache import cache

LIFETIME = 30  # seconds
SALT = "chat.tokens"  # a signature made for anything else is no good here


def make_token(user):
    """Return a token that signs ``user`` in to one socket."""
    return signing.dumps({"user": user.pk, "id": secrets.token_urlsafe()}, salt=SALT)


def redeem_token(token):
    """Return the active user of a token, once; None if it is tampered, expired or used."""
    try:
        content = signing.loads(token, salt=SALT, max_age=LIFETIME)
    except signing.BadSignature:  # an expired signature is a bad one too
        return None
    # add() looks and writes in one go: if two come with the same token, one of them is second.
    if not cache.add(f"chat.token.{content['id']}", "used", timeout=LIFETIME):
        return None
    return get_user_model().objects.filter(pk=content["user"], is_active=True).first()
