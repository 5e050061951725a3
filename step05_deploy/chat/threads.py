"""How async code calls the ORM."""

from functools import partial

from channels.db import database_sync_to_async

# The ORM waits for the database. Async code must not wait: it would hold up all
# connections of the process. So the ORM's calls run in threads.
#
# By default, database_sync_to_async uses one thread for all calls. Channels passes
# through that thread before every event of every consumer, so one slow query blocks
# every connection. With thread_sensitive=False, the calls use a pool of threads.
in_a_thread = partial(database_sync_to_async, thread_sensitive=False)
