"""Work for `runworker` when a process dies, as docs/recipes/background_work.md tells it."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from course.core.ports import free_port
from course.core.processes import clean_environment, start_job, stop, wait_until
from course.stack.programs import find_programs
from course.stack.services import redis

SECONDS = 40  # longer than anything takes on a busy machine
SITE = """
import asyncio

from channels.consumer import AsyncConsumer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter

SECRET_KEY = "for a test"
INSTALLED_APPS = ["channels"]
ASGI_APPLICATION = "site_of_work.application"
HOSTS = [{"address": "redis://127.0.0.1:PORT", "socket_timeout": None}]
LAYER = {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": HOSTS}}
CHANNEL_LAYERS = {"default": LAYER}


class WorkConsumer(AsyncConsumer):
    async def work(self, event):
        print("begins", event["name"], flush=True)
        await asyncio.sleep(event["seconds"])
        print("ends", event["name"], flush=True)


channels = ChannelNameRouter({"work": WorkConsumer.as_asgi()})
application = ProtocolTypeRouter({"channel": channels})
"""
SEND = """
import sys

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

event = {"type": "work", "name": sys.argv[1], "seconds": int(sys.argv[2])}
async_to_sync(get_channel_layer().send)("work", event)
"""


@pytest.mark.skipif(os.name == "nt", reason="Redis needs Linux or macOS")
def test_a_worker_keeps_what_waits_and_loses_what_it_has_begun(tmp_path: Path) -> None:
    """Work that waits outlives its sender; work that was taken dies with the worker."""
    port = free_port()
    program = find_programs(Path(sys.executable))["redis"]
    service = redis("redis", program, tmp_path, port, '""')
    (tmp_path / "site_of_work.py").write_text(SITE.replace("PORT", str(port)), "utf-8")
    env = clean_environment() | {"DJANGO_SETTINGS_MODULE": "site_of_work"}
    env |= {"PYTHONPATH": str(tmp_path)}
    log = tmp_path / "worker.log"

    def send(name: str, seconds: int = 0) -> None:
        """Send work from a process that ends at once."""
        command = [sys.executable, "-c", SEND, name, str(seconds)]
        subprocess.run(command, env=env, check=True)

    def worker():
        return start_job([sys.executable, "-m", "django", "runworker", "work"], log, tmp_path, env)

    def shows(text: str) -> bool:
        return wait_until(lambda: text in log.read_text("utf-8"), SECONDS)

    with ExitStack() as running:
        service.start()
        running.callback(service.stop)
        send("first")
        first = worker()
        running.callback(stop, first)
        assert shows("ends first"), log.read_text("utf-8")
        send("long", 3600)
        assert shows("begins long"), log.read_text("utf-8")
        first.kill()
        first.wait(SECONDS)
        send("next")
        send("last")
        running.callback(stop, worker())  # it begins a new log
        assert shows("ends last"), log.read_text("utf-8")
        text = log.read_text("utf-8")
    assert "ends next" in text
    assert "long" not in text
