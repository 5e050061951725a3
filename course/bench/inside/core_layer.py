"""Step 5's settings, with the channel layer of the tutorials."""

from config.settings import *  # noqa: F403
from config.settings import REDIS_URLS

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {
            # With redis-py's own time limit, a quiet socket would be closed after five seconds.
            "hosts": [{"address": url, "socket_timeout": None} for url in REDIS_URLS],
            # The default capacity, 100 messages for the whole process, would lose most messages.
            "capacity": 1_000_000,
        },
    }
}
