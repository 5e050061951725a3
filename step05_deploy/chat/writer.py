"""Storing together what comes together: one writer for all rooms of a process."""

import asyncio

from .storage import store
from .threads import in_a_thread

BATCH = 100  # drafts in one transaction


class Writer:
    """Stores drafts. The drafts that come during a transaction go into the next one.

    So a busy process stores many messages for the price of one transaction, and a
    quiet one does not wait.
    """

    def __init__(self):
        self.waiting = []  # drafts, each with the future of its result
        self.writing = None

    def store(self, draft):
        """Return a future of the draft's frame, and whether it is new."""
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((draft, future))
        if self.writing is None:
            self.writing = asyncio.create_task(self.store_all())
        return future

    async def store_all(self):
        """Store until no draft waits."""
        while self.waiting:
            batch, self.waiting = self.waiting[:BATCH], self.waiting[BATCH:]
            try:
                results = await in_a_thread(store)([draft for draft, _ in batch])
            except Exception as error:
                # The drafts that wait would get the same error, only later.
                batch, self.waiting = batch + self.waiting, []
                results = [error] * len(batch)
            for (_, future), result in zip(batch, results, strict=True):
                if future.cancelled():
                    pass  # the connection has gone
                elif isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
        self.writing = None
