"""Claims of docs/operating.md: tests that run in step 5, where they are tests/test_answers.py."""

import pytest
from asgiref.sync import async_to_sync
from channels.testing import WebsocketCommunicator
from django.test import Client
from redis.exceptions import ConnectionError as RedisConnectionError

from chat.sessions import may_stay, read_session
from config.asgi import application

from .server import free_port

SESSIONS = "django.contrib.sessions.backends."


@pytest.mark.parametrize("engine", ["db", "cached_db", "cache"])
def test_sessions_without_redis(settings, ann, engine):
    """With `cached_db`, nobody can come in. With `cache`, everybody is a stranger."""
    settings.SESSION_ENGINE = SESSIONS + engine
    client = Client()
    client.force_login(ann)
    key = client.cookies["sessionid"].value
    session, user = read_session(key)
    scope = {"user": user, "session": session}
    redis = f"redis://127.0.0.1:{free_port()}"  # where nothing listens
    backend = "django.core.cache.backends.redis.RedisCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": redis}}
    assert async_to_sync(may_stay)([scope]) == [engine != "cache"]
    if engine == "cached_db":
        with pytest.raises(RedisConnectionError):
            read_session(key)
        with pytest.raises(RedisConnectionError):
            client.logout()
    else:
        assert read_session(key)[1].is_anonymous == (engine == "cache")


async def test_an_origin_that_is_no_address_is_an_error():
    """Channels' validator raises an exception, which a server answers with 500."""
    headers = [(b"origin", b"http://[")]
    client = WebsocketCommunicator(application, "/ws/chat/lobby/", headers)
    with pytest.raises(ValueError, match="Invalid IPv6 URL"):
        await client.connect()
