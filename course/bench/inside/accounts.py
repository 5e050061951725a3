"""Make accounts with sessions, and a conversation.

`python -m course.bench.inside.accounts COUNT`, in a folder that holds step 5, prints the session
keys as JSON.
"""

import json
import sys
from importlib import import_module

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402

from chat.models import Message  # noqa: E402


def sign_in(user: User) -> str:
    """Make a session as a login does, and return its key."""
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)


def main(count: int) -> None:
    """Make `count` users, and fifty messages in the room "history"."""
    # With an unusable password nobody can log in; the sessions need no password.
    users = User.objects.bulk_create(
        [User(username=f"bench{number}", password="!") for number in range(count)]
    )
    for number in range(50):
        Message(room="history", user=users[0], text=f"said before {number}").save()
    print(json.dumps([sign_in(user) for user in users]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
