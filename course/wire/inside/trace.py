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
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from asgiref.sync import SyncToAsync
from channels.consumer import SyncConsumer
from channels.db import DatabaseSyncToAsync
from channels.exceptions import StopConsumer
from django.core.signals import got_request_exception
from django.dispatch import receiver
from django.utils.module_loading import import_string

from config.asgi import application as step_application
from course.wire.events import KINDS, Event
from course.wire.inside.hide import hide

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# The calls of a channel layer that are told of, and the kinds of their events.
LAYER = {name: name for name in ("group_add", "group_discard", "group_send")}
LAYER["send"] = "channel_send"
HERE = Path.cwd()  # the step's folder, where manage.py and the servers run
SECONDS = 2.0  # after which the step goes on untraced, if the course does not read
# The lane of a consumer, or "views". Each task and thread that is started for it has a copy.
OWN: ContextVar[str] = ContextVar("wire_own", default="outside")

numbers = count(1)
lock = threading.Lock()
port, _, password = os.environ["COURSE_WIRE"].partition(":")
wire = socket.create_connection(("127.0.0.1", int(port)), SECONDS)
wire.sendall(f"POST / HTTP/1.0\r\nAuthorization: {password}\r\n\r\n".encode())


def tell(kind: str, *values: Any, own: str = "", client: str = "", **more: Any) -> None:
    """Tell of one event of the lane `own`; its text is `values` without secrets."""
    lanes = {"own": own or actor(), "client": client}
    source, target = (lanes.get(lane, lane) for lane in KINDS[kind][1:])
    text = " ".join(hide(value) for value in values)
    line = Event(time.time(), kind, source, target, text, **more).to_json()
    with lock:
        try:
            wire.sendall(f"{line}\n".encode())
        except OSError:
            wire.close()


def lane(name: str) -> str:
    """Return the name of a lane of this process: "consumer 1", or "worker1 consumer 1"."""
    return f"{os.environ['COURSE_WORKER']} {name}".strip()


def actor() -> str:
    """Return the lane that acts now: a task that the step has started for itself, or a consumer."""
    with suppress(RuntimeError):  # in a thread there is no task
        task = asyncio.current_task()
        # A task inherits the context of the connection that happened to start the task.
        code = getattr(task.get_coro(), "cr_code", None) if task else None
        if code and is_of_step(code.co_filename):
            return lane(f"task {task.get_coro().__qualname__.partition('.')[0]}")
    return OWN.get()


def is_of_step(file: str) -> bool:
    """Tell whether a file belongs to the step, and not to a library or to the course."""
    return file.startswith(f"{HERE}{os.sep}") and "site-packages" not in file


def tell_error(error: BaseException, own: str = "") -> None:
    """Tell of an exception, and of the place in the step that raised it."""
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if is_of_step(frame.filename):
            file = Path(frame.filename).relative_to(HERE).as_posix()
            place = f" ({file}:{frame.lineno} in {frame.name})"
    tell("error", f"{type(error).__name__}: {error}{place}", own=own)


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """Handle one connection; tell what passes between the server and the step."""
    host = (scope.get("server") or ["127.0.0.1"])[0]
    if not host.startswith("127.") and host not in ("::1", "localhost"):
        raise RuntimeError(f"TRACE is for this machine only, but somebody has asked {host}.")
    if scope["type"] == "websocket":
        await trace_socket(scope, receive, send)
    else:
        OWN.set(lane("views"))
        await step_application(scope, receive, send)


async def trace_socket(scope: Message, receive: Receive, send: Send) -> None:
    """Tell of a socket's handshake, frames, errors and end."""
    number, told = next(numbers), {"connect"}
    agent = dict(scope["headers"]).get(b"user-agent", b"")
    client = lane(f"{'tab' if agent.startswith(b'Mozilla') else 'client'} {number}")
    own = lane(f"consumer {number}")
    OWN.set(own)
    # Hide before unquoting: a secret may contain "%26", and ends where "&" stands.
    query = unquote(hide(scope["query_string"].decode("latin-1")))
    tell_socket = partial(tell, own=own, client=client)
    tell_socket("connect", f"{scope['path']}?{query}".rstrip("?"))

    def note(message: Message) -> Message:
        kind = message["type"].rpartition(".")[2]
        if kind == "start" or (kind == "close" and "accept" not in told):
            kind = "refuse"  # "start" is that of an HTTP response
        if kind in KINDS and kind != "connect":
            told.add(kind)
            tell_socket(kind, words_of(kind, message))
        return message

    async def traced_receive() -> Message:
        return note(await receive())

    async def traced_send(message: Message) -> None:
        await send(note(message))

    try:
        await step_application(scope, traced_receive, traced_send)
    except BaseException as error:
        if "disconnect" in told and isinstance(error, asyncio.CancelledError):
            raise  # the server did not wait any longer for a consumer without a client
        tell_error(error, own)
        if "accept" not in told:
            tell_socket("refuse", "HTTP 500")
        elif not told & {"close", "disconnect"}:
            # uvicorn sends no close frame here, so a browser sees 1006.
            tell_socket("close", "1006" if "uvicorn" in sys.modules else "1011")
        raise
    finally:
        tell("end", own=own)


def words_of(kind: str, message: Message) -> str:
    """Return what a message between server and consumer says."""
    match kind:
        case "receive" | "send":
            text, data = message.get("text"), message.get("bytes") or b""
            return f"{len(data):,} bytes, binary" if text is None else text
        case "close" | "disconnect":
            return f"{message.get('code') or 1000} {message.get('reason') or ''}".strip()
        case "refuse":
            return f"HTTP {message.get('status', 403)}, a browser sees 1006"
    return message.get("subprotocol") or ""


class TracedLayer:
    """The step's own channel layer, an object of class `backend`; calls and events are told of."""

    def __init__(self, backend: str, config: dict[str, Any]) -> None:
        self.layer = import_string(backend)(**config)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.layer, name)
        if name not in LAYER:
            return method

        async def call(*args: Any, **kwargs: Any) -> Any:
            target, *rest = *args, *kwargs.values()
            # The name of a channel is long and random, so it says nothing.
            tell(LAYER[name], target, *(each for each in rest if not isinstance(each, str)))
            return await method(*args, **kwargs)

        return call

    async def receive(self, channel: str) -> Any:
        """Return the channel's next event."""
        message = await self.layer.receive(channel)
        tell("event", message)
        return message


async def traced_database_call(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Do what `database_sync_to_async` does; tell which thread was used, and for how long."""
    function, own = self.func, actor()
    kind, name = "database", getattr(function, "__name__", repr(function))
    if function is SyncConsumer.__dict__["dispatch"].func:  # a synchronous consumer's method
        kind, name = "thread", args[1].get("type")

    def timed(*args: Any, **kwargs: Any) -> Any:
        began, failure = time.perf_counter(), ""
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            if not isinstance(error, StopConsumer):  # a consumer's ordinary end
                failure = type(error).__name__
            raise
        finally:
            ms, thread = 1000 * (time.perf_counter() - began), threading.current_thread().name
            found = "failed" if failure else kind
            tell(found, f"{name} {failure}".strip(), own=own, ms=ms, thread=thread)

    once = copy.copy(self)  # the same call may run in several tasks at once
    once.func = timed
    return await SyncToAsync.__call__(once, *args, **kwargs)


@receiver(got_request_exception)
def tell_of_view(**_: Any) -> None:
    """Tell of an exception in a view."""
    if error := sys.exc_info()[1]:
        tell_error(error)


DatabaseSyncToAsync.__call__ = traced_database_call
