"""Find out who opens a socket: the user of a token."""

from urllib.parse import parse_qsl

from channels.db import database_sync_to_async
from channels.middleware import BaseMiddleware

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
        query = read_query(scope)
        if "token" not in query:
            return await self.without_token(scope, receive, send)
        # The cookie is never a fallback for an invalid token.
        session, user = await database_sync_to_async(redeem_token)(query["token"])
        scope = {**scope, "session": session, "user": user}
        return await super().__call__(scope, receive, send)
