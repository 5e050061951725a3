"""How async code calls what waits: Django's ORM, and other synchronous functions."""

from functools import partial

from channels.db import database_sync_to_async

# The ORM waits for the database, and an event loop must not wait, so these calls go to a thread.
# By default it would be one thread for all of them, and Channels passes through that thread before
# each event of each consumer: there, one slow query holds up everybody.
in_a_thread = partial(database_sync_to_async, thread_sensitive=False)
