"""Sessions outside a request: a socket stays open while its session may end."""

from importlib import import_module

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest


def session_store():
    """Return the class of the sessions: a site may keep them outside the database."""
    return import_module(settings.SESSION_ENGINE).SessionStore


def read_session(key):
    """Return the session with a key, and its user: AnonymousUser if it has ended."""
    request = HttpRequest()  # get_user needs no more of it than the session
    request.session = session_store()(key)
    return request.session, get_user(request)
