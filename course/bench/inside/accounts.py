"""Make accounts and a conversation: `python -m course.bench.inside.accounts`, in step 5's folder.

The program prints the keys of the accounts' sessions as JSON.
"""

import json

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.test import Client  # noqa: E402

from chat.models import Message  # noqa: E402


def sign_in(number: int) -> str:
    """Make an account and a session as a login does; return the session's key."""
    client = Client()
    client.force_login(User.objects.create(username=f"bench{number}"))
    return client.session.session_key


if __name__ == "__main__":
    print(json.dumps([sign_in(number) for number in range(500)]))
    for number in range(50):
        Message(room="history-0", user=User.objects.first(), text=f"said before {number}").save()
