"""How async code calls the ORM, once many processes share a database."""

from functools import partial

from channels.db import database_sync_to_async

# By default, database_sync_to_async runs all calls in one thread. Channels passes
# through that thread before every event of every consumer, so one slow query blocks
# every connection. With thread_sensitive=False, each call may use another thread of a
# pool.
in_a_thread = partial(database_sync_to_async, thread_sensitive=False)
