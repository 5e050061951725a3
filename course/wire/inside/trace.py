"""Wrap a step's application, channel layer and database calls, and tell the course of each event.

Nothing here changes what the step does: each wrapper calls the original, with the same arguments,
and passes on its result or its exception.
"""

import asyncio
import copy
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from asgiref.sync import SyncToAsync
from channels.consumer import SyncConsumer
from channels.db import DatabaseSyncToAsync
from channels.exceptions import StopConsumer
from django.core.signals import got_request_exception
from django.utils.module_loading import import_string

from config.asgi import application as step_application
from course.wire.events import DATABASE, KINDS, LAYER, Event
from course.wire.inside.hide import hide

Message = dict[str, Any]
CALLS = ("group_add", "group_discard", "group_send", "send", "receive")  # of a channel layer
HERE = Path.cwd()  # the step's folder, where manage.py and the servers run
WORKER = f"{os.environ['COURSE_WORKER']} ".lstrip()  # begins the name of each lane
# The lane of a consumer, or "views". Each task and thread that is started for it has a copy.
OWN: ContextVar[str] = ContextVar("wire_own", default="outside")

lock = threading.Lock()
port, password, started = os.environ["COURSE_WIRE"].split()
wire = socket.create_connection(("127.0.0.1", int(port)), 30)
wire.sendall(f"POST /{WORKER.strip()} HTTP/1.0\r\nAuthorization: {password}\r\n\r\n".encode())
numbers = count(1 + int(wire.recv(20)))  # of sockets; the process before has had the others
wire.settimeout(2)  # if the course does not read any longer, the step goes on untraced


def tell(kind: str, source: str, target: str, *values: Any, more: str = "") -> None:
    """Tell of one event; its text is `values` without secrets, and `more`."""
    text = " ".join(map(hide, values)) + more
    line = Event(round(time.time() - float(started), 6), kind, source, target, text).to_json()
    with lock:
        try:
            wire.sendall(f"{line}\n".encode())
        except OSError:
            wire.close()


def actor() -> str:
    """Return the lane that acts now: a task that the step has started for itself, or a consumer."""
    with suppress(RuntimeError, AttributeError):  # in a thread there is no task
        # A task inherits the context of the connection that happened to start the task.
        coroutine = asyncio.current_task().get_coro()
        if Path(coroutine.cr_code.co_filename).is_relative_to(HERE):
            return f"{WORKER}task {coroutine.__qualname__.partition('.')[0]}"
    return OWN.get()


def tell_error(error: BaseException, own: str) -> None:
    """Tell of an exception, and of the place in the step that raised it."""
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        with suppress(ValueError):  # a library's file
            file = Path(frame.filename).relative_to(HERE).as_posix()
            place = f" ({file}:{frame.lineno} in {frame.name})"
    tell("error", own, own, f"{type(error).__name__}: {error}{place}")


async def application(scope: Message, receive: Callable, send: Callable) -> None:
    """Handle one connection; tell of a socket's handshake, frames, errors and end."""
    host = (scope.get("server") or ["127.0.0.1"])[0]
    if not host.startswith("127.") and host not in ("::1", "localhost"):
        raise RuntimeError(f"TRACE is for this machine only, but somebody has asked {host}.")
    if scope["type"] != "websocket":
        OWN.set(f"{WORKER}views")
        return await step_application(scope, receive, send)
    number, told = next(numbers), set()
    agent = dict(scope["headers"]).get(b"user-agent", b"")
    client = f"{WORKER}{'tab' if agent.startswith(b'Mozilla') else 'client'} {number}"
    own = f"{WORKER}consumer {number}"
    OWN.set(own)
    # Hide before unquoting: a secret may contain "%26", and ends where "&" stands.
    query = unquote(hide(scope["query_string"].decode("latin-1")))
    tell("connect", client, own, f"{scope['path']}?{query}".rstrip("?"))

    def note(message: Message, source: str, target: str) -> Message:
        kind = message["type"].rpartition(".")[2]
        text, data = message.get("text") or "", message.get("bytes")
        if kind == "close" and "accept" not in told:
            kind, text = "refuse", "HTTP 403, a browser sees 1006"
        elif kind in ("close", "disconnect"):
            text = f"{message.get('code') or 1000} {message.get('reason') or ''}"
        elif data is not None:
            text = f"{len(data):,} bytes, binary"
        if kind in KINDS and kind != "connect":
            told.add(kind)
            tell(kind, source, target, text)
        return message

    async def traced_receive() -> Message:
        return note(await receive(), client, own)

    async def traced_send(message: Message) -> None:
        await send(note(message, own, client))

    try:
        await step_application(scope, traced_receive, traced_send)
    except BaseException as error:
        if "disconnect" in told and isinstance(error, asyncio.CancelledError):
            raise  # the server did not wait any longer for a consumer without a client
        tell_error(error, own)
        if "accept" not in told:
            tell("refuse", own, client, "HTTP 500")
        elif not told & {"close", "disconnect"}:
            # uvicorn sends no close frame here, so a browser sees 1006.
            tell("close", own, client, "1006" if "uvicorn" in sys.modules else "1011")
        raise
    finally:
        tell("end", own, own)


class TracedLayer:
    """The step's own channel layer, made from its settings; calls and events are told of."""

    def __init__(self, **settings: Any) -> None:
        self.layer = import_string(settings["BACKEND"])(**settings.get("CONFIG", {}))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.layer, name)
        if name not in CALLS:
            return method

        async def call(*args: Any, **kwargs: Any) -> Any:
            if name == "receive":
                message = await method(*args, **kwargs)
                tell("event", LAYER, actor(), message)
                return message
            # The name of a channel is long and random, so it says nothing.
            target, *rest = *args, *kwargs.values()
            words = [each for each in rest if not isinstance(each, str)]
            tell("channel_send" if name == "send" else name, actor(), LAYER, target, *words)
            return await method(*args, **kwargs)

        return call


async def traced_database_call(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Do what `database_sync_to_async` does; tell which thread was used, and for how long."""
    function, own = self.func, actor()
    kind, target, name = "database", DATABASE, getattr(function, "__name__", repr(function))
    if function is SyncConsumer.__dict__["dispatch"].func:  # a synchronous consumer's method
        kind, target, name = "thread", own, args[1].get("type")

    def timed(*args: Any, **kwargs: Any) -> Any:
        began, found, words = time.perf_counter(), kind, [name]
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            if not isinstance(error, StopConsumer):  # a consumer's ordinary end
                found, words = "failed", [name, type(error).__name__]
            raise
        finally:
            took = f" · {1000 * (time.perf_counter() - began):.1f} ms"
            thread = threading.current_thread().name
            tell(found, own, target, *words, more=f"{took} · in {thread}")

    once = copy.copy(self)  # the same call may run in several tasks at once
    once.func = timed
    return await SyncToAsync.__call__(once, *args, **kwargs)


def tell_of_view(**_: Any) -> None:
    """Tell of an exception in a view."""
    tell_error(sys.exc_info()[1], actor())


got_request_exception.connect(tell_of_view)
DatabaseSyncToAsync.__call__ = traced_database_call
