"""Make accounts with sessions, and a conversation.

`python -m course.bench.inside.accounts COUNT`, in a folder that holds step 5, prints the session
keys as JSON.
"""

import json
import sys

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.test import Client  # noqa: E402

from chat.models import Message  # noqa: E402


def sign_in(user: User) -> str:
    """Make a session as a login does, and return its key."""
    client = Client()
    client.force_login(user)
    return client.session.session_key


def main(count: int) -> None:
    """Make `count` users, and fifty messages in the first room of the measure `joins`."""
    # With an unusable password nobody can log in; the sessions need no password.
    users = User.objects.bulk_create(
        [User(username=f"bench{number}", password="!") for number in range(count)]
    )
    for number in range(50):
        Message(room="history-0", user=users[0], text=f"said before {number}").save()
    print(json.dumps([sign_in(user) for user in users]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
