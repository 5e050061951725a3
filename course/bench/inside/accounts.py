"""Make accounts that are signed in, and a conversation.

`python -m course.bench.inside.accounts COUNT`, in a folder that holds step 5, prints the session
keys as JSON.
"""

import json
import sys
from datetime import timedelta

import django

django.setup()

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.contrib.sessions.models import Session  # noqa: E402
from django.utils import timezone  # noqa: E402

from chat.store import Draft, store  # noqa: E402


def main(count: int) -> None:
    """Make `count` users."""
    # No password fits an unusable one; the session does without.
    users = User.objects.bulk_create(
        [User(username=f"bench{number}", password="!") for number in range(count)]
    )
    store_class = SessionStore()
    keys = [store_class._get_new_session_key() for _ in users]
    Session.objects.bulk_create(
        Session(
            session_key=key,
            session_data=store_class.encode(
                {
                    SESSION_KEY: str(user.pk),
                    BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
                    HASH_SESSION_KEY: user.get_session_auth_hash(),
                }
            ),
            expire_date=timezone.now() + timedelta(days=1),
        )
        for key, user in zip(keys, users, strict=True)
    )
    store("history", [Draft(users[0], f"said before {n}", None) for n in range(50)])
    print(json.dumps(keys))


if __name__ == "__main__":
    main(int(sys.argv[1]))
