"""Say once that a service is away, and once that it is back: not for each message."""

import logging

from django.db import InterfaceError, OperationalError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


class Outage:
    """Whether one service works that this process needs."""

    def __init__(self, service):
        self.service = service
        self.missing = set()  # what does not work without it, such as a room's group

    def begins(self, what, error):
        """Note that something does not work, and log the first of all."""
        if not self.missing:
            reason = f"{type(error).__name__}: {error}"
            logger.error("%s does not answer: %s", self.service, reason)
        self.missing.add(what)

    def ends(self, what):
        """Note that it works again, and log the last of all."""
        if what in self.missing:
            self.missing.discard(what)
            if not self.missing:
                logger.warning("%s answers again", self.service)


redis_outage = Outage("Redis")
database_outage = Outage("The database")


def log_error(what, error):
    """Log what failed. An outage has one line; any other error has its traceback."""
    if isinstance(error, OperationalError | InterfaceError):
        database_outage.begins("queries", error)
    elif isinstance(error, RedisError):
        # Process.ask_redis tries this name too: any name is a group.
        redis_outage.begins("cache", error)
    else:
        logger.error(what, exc_info=error)
