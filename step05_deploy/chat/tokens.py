"""Tokens for sockets: signed, valid for thirty seconds and for one connection.

A token in a URL may end up in a log. It is used or expired when somebody reads it.
"""

import secrets

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core import signing
from django.core.cache import cache

from .sessions import read_session

LIFETIME = 30  # seconds
# A signature for another purpose has another salt, and fails here.
SALT = "chat.tokens"


def make_token(user, session_key=None):
    """Return a token that opens one socket for ``user``, while the session lasts."""
    token_id = secrets.token_urlsafe()
    # Neither may be in a URL. The hash changes with the password.
    made_with = user.get_session_auth_hash(), session_key
    cache.set(f"chat.token.{token_id}", made_with, timeout=LIFETIME)
    return signing.dumps({"user": user.pk, "id": token_id}, salt=SALT)


def redeem_token(token):
    """Return the session and the user of a token: AnonymousUser if it is bad.

    A token that was got with a password has no session.
    """
    try:
        content = signing.loads(token, salt=SALT, max_age=LIFETIME)
    except signing.BadSignature:  # also raised for an expired token
        return None, AnonymousUser()
    key = f"chat.token.{content['id']}"
    password_hash, session_key = cache.get(key, (None, None))
    # delete() is atomic: of two requests with the same token, one fails.
    if not cache.delete(key):
        return None, AnonymousUser()
    if session_key:
        return read_session(session_key)
    user = get_user_model().objects.filter(pk=content["user"], is_active=True).first()
    if user is None or user.get_session_auth_hash() != password_hash:
        return None, AnonymousUser()
    return None, user
