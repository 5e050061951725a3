"""Sessions outside a request: a socket stays open while its session may end."""

from importlib import import_module

from django.conf import settings
from django.contrib.auth import get_user, get_user_model
from django.http import HttpRequest
from django.utils import timezone

from .threads import in_a_thread


def session_store():
    """Return the class of the sessions: a site may keep them outside the database."""
    return import_module(settings.SESSION_ENGINE).SessionStore


def read_session(key):
    """Return the session with a key, and its user: AnonymousUser if it has ended."""
    request = HttpRequest()  # get_user needs no more of it than the session
    request.session = session_store()(key)
    return request.session, get_user(request)


@in_a_thread
def may_stay(scopes):
    """Return for each scope whether its user is still signed in, and active."""
    users = {scope["user"].pk for scope in scopes}
    users = get_user_model().objects.filter(is_active=True, pk__in=users)
    # The hash changes with the password.
    hashes = {user.pk: user.get_session_auth_hash() for user in users}
    keys = {scope["session"].session_key for scope in scopes if scope["session"]}
    store = session_store()
    if hasattr(store, "get_model_class"):  # the sessions are in the database
        sessions = store.get_model_class().objects.filter(session_key__in=keys)
        sessions = sessions.filter(expire_date__gt=timezone.now())
        keys = set(sessions.values_list("session_key", flat=True))
    else:
        keys = {key for key in keys if store(key).load()}
    return [
        hashes.get(scope["user"].pk) == scope["user"].get_session_auth_hash()
        and (not scope["session"] or scope["session"].session_key in keys)
        for scope in scopes
    ]
