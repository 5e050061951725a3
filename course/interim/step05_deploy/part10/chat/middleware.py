"""Find out who opens a socket: the user of a token, or of a session."""

import time
from urllib.parse import parse_qsl

from channels.middleware import BaseMiddleware
from django.conf import settings
from django.http import parse_cookie

from .protocol import is_text
from .sessions import read_session
from .threads import in_a_thread
from .tokens import redeem_token


def read_query(scope):
    """Return the fields of a socket's query string. Of a repeated field, the last."""
    # The query string is bytes. Latin-1 can decode any byte, so it raises no error.
    query = scope["query_string"].decode("latin-1")
    # An empty token is a bad token, not a missing one.
    return dict(parse_qsl(query, keep_blank_values=True))


class TokenMiddleware(BaseMiddleware):
    """Put the user of ``?token=`` into the scope, and the session if it has one."""

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
        session, user = await in_a_thread(redeem_token)(query["token"])
        scope = {**scope, "session": session, "user": user}
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
        if not is_text(key):  # PostgreSQL raises an error for a NUL character
            key = None
        session, user = await in_a_thread(read_session)(key)
        scope = {**scope, "session": session, "user": user}
        return await super().__call__(scope, receive, send)
