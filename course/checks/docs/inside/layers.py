"""Channel layers of docs/errors.md. The tests replace the port 6379 by that of their Redis."""

# This is what most tutorials say. With redis-py 8, an idle socket dies after five seconds.
IMPATIENT = {
    "BACKEND": "channels_redis.core.RedisChannelLayer",
    "CONFIG": {"hosts": [("127.0.0.1", 6379)]},
}
PATIENT = {
    "BACKEND": "channels_redis.core.RedisChannelLayer",
    "CONFIG": {"hosts": [{"address": "redis://127.0.0.1:6379", "socket_timeout": None}]},
}
# This layer has no capacity, and no blocking read that times out.
UNBOUNDED = {
    "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "CONFIG": {"hosts": ["redis://127.0.0.1:6379"]},
}
# Nothing listens on port 1.
NOBODY = {
    "BACKEND": "channels_redis.core.RedisChannelLayer",
    "CONFIG": {"hosts": [("127.0.0.1", 1)]},
}
