"""Sessions in the database, as Django keeps them, for keys that a database can look for."""

from django.contrib.sessions.backends import db

from .protocol import is_text


class SessionStore(db.SessionStore):
    """A cookie may hold anything; PostgreSQL refuses a NUL, and a stranger would get a 500."""

    def _validate_session_key(self, key):
        """Return whether there may be a session with this key."""
        return super()._validate_session_key(key) and is_text(key)
