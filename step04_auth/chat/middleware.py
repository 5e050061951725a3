"""Who opens a socket: the user of a token, or of a session."""

from urllib.parse import parse_qsl

from channels.middleware import BaseMiddleware
from django.contrib.auth.models import AnonymousUser

from .threads import in_a_thread
from .tokens import redeem_token


def read_query(scope):
    """Return the fields of a socket's query string; of those that come twice, the last.

    Django's ``QueryDict`` raises an exception for more than a thousand of them.
    """
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))


class TokenMiddleware(BaseMiddleware):
    """Put the user of ``?token=`` into the scope; pass sockets without one to another application.

    A token that is no good makes a stranger, whatever cookie comes with it: who sends a token
    means it.
    """

    def __init__(self, inner, without_token):
        """Wrap ``inner`` for sockets with a token; ``without_token`` gets all others."""
        super().__init__(inner)
        self.without_token = without_token

    async def __call__(self, scope, receive, send):
        """Handle one connection."""
        query = read_query(scope)
        if "token" not in query:
            return await self.without_token(scope, receive, send)
        user = await in_a_thread(redeem_token)(query["token"])
        scope = {**scope, "user": user or AnonymousUser()}
        return await super().__call__(scope, receive, send)
