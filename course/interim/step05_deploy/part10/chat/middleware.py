"""Find out who opens a socket: the user of a token, or of a session."""

import time
from importlib import import_module
from urllib.parse import parse_qsl

from channels.middleware import BaseMiddleware
from django.conf import settings
from django.contrib.auth import get_user, get_user_model
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, parse_cookie
from django.utils import timezone

from .protocol import is_text
from .threads import in_a_thread
from .tokens import redeem_token


def read_query(scope):
    """Return the fields of a socket's query string. Of a repeated field, the last."""
    # The query string is bytes. Latin-1 can decode any byte, so it raises no error.
    query = scope["query_string"].decode("latin-1")
    # An empty token is a bad token, not a missing one.
    return dict(parse_qsl(query, keep_blank_values=True))


class TokenMiddleware(BaseMiddleware):
    """Put the user of ``?token=`` into the scope: AnonymousUser if it is invalid."""

    def __init__(self, inner, without_token):
        """Wrap ``inner``. ``without_token`` gets the sockets that have no token."""
        super().__init__(inner)
        self.without_token = without_token

    async def __call__(self, scope, receive, send):
        """Handle one connection."""
        # All that is read about the user is newer than this.
        scope = {**scope, "opened_at": time.monotonic()}
        query = read_query(scope)
        if "token" not in query:
            return await self.without_token(scope, receive, send)
        # The cookie is never a fallback for an invalid token.
        user = await in_a_thread(redeem_token)(query["token"])
        scope = {**scope, "user": user or AnonymousUser()}
        return await super().__call__(scope, receive, send)


class SessionUserMiddleware(BaseMiddleware):
    """Put the session of the cookie, and its user, into the scope.

    Channels' AuthMiddlewareStack does the same. But it also wraps ``send``, and so
    handles every frame: with 500 sockets in a room, a third of the deliveries. And it
    reads the session in the one thread that everybody shares.
    """

    async def __call__(self, scope, receive, send):
        """Handle one connection."""
        header = dict(scope["headers"]).get(b"cookie", b"").decode("latin-1")
        key = parse_cookie(header).get(settings.SESSION_COOKIE_NAME)
        session, user = await in_a_thread(read_session)(key)
        scope = {**scope, "session": session, "user": user}
        return await super().__call__(scope, receive, send)


def session_store():
    """Return the class of the sessions: a site may keep them outside the database."""
    return import_module(settings.SESSION_ENGINE).SessionStore


def read_session(key):
    """Return the session with a key, and its user, who may be AnonymousUser."""
    request = HttpRequest()  # get_user needs no more of it than the session
    # A cookie may hold anything. PostgreSQL raises an error for a NUL character.
    request.session = session_store()(key if is_text(key) else None)
    return request.session, get_user(request)


@in_a_thread
def may_stay(scopes):
    """Return for each scope whether its user is still signed in, and active."""
    users = {scope["user"].pk for scope in scopes}
    users = get_user_model().objects.filter(is_active=True, pk__in=users)
    # The hash changes with the password.
    hashes = {user.pk: user.get_session_auth_hash() for user in users}
    keys = {scope["session"].session_key for scope in scopes if "session" in scope}
    store = session_store()
    if hasattr(store, "get_model_class"):  # the sessions are in the database
        sessions = store.get_model_class().objects.filter(session_key__in=keys)
        sessions = sessions.filter(expire_date__gt=timezone.now())
        keys = set(sessions.values_list("session_key", flat=True))
    else:
        keys = {key for key in keys if store(key).load()}
    return [
        hashes.get(scope["user"].pk) == scope["user"].get_session_auth_hash()
        and ("session" not in scope or scope["session"].session_key in keys)
        for scope in scopes
    ]
