"""The page, and three of the four ways: a socket is answered by consumers.py."""

import asyncio
import json
import threading
import time

from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from .events import events, play, wait_for_events

SLOW = 1  # seconds

plays = set()  # an event loop keeps no reference to a task, so we keep one
waiting = []  # the thread of each request that is in a slow view


def page(request):
    """Show the page. It starts after the last event so far."""
    return render(request, "live/page.html", {"last": len(events)})


@require_POST
async def start(request):
    """Let the ten events happen, unless they are happening."""
    if not plays:
        task = asyncio.create_task(play())
        plays.add(task)
        task.add_done_callback(plays.discard)
    return HttpResponse(status=204)


async def poll(request, after):
    """Answer with the events so far."""
    return JsonResponse({"events": events[after:]})


async def long_poll(request, after):
    """Answer when there is an event."""
    return JsonResponse({"events": await wait_for_events(after)})


async def stream(request, after):
    """Answer with all events to come, as one response that does not end.

    A browser that comes back says in ``Last-Event-ID`` which event it saw last.
    """
    last = request.headers.get("Last-Event-ID", "")
    after = int(last) if last.isdecimal() else after
    return StreamingHttpResponse(lines(after), content_type="text/event-stream")


async def lines(after):
    """Yield each event as a server-sent event; in silence, yield a comment."""
    yield ": connected\n\n"  # Daphne sends the headers with the first piece
    while True:
        found = await wait_for_events(after)
        for event in found:
            after = event["id"]
            yield f"id: {after}\ndata: {json.dumps(event)}\n\n"
        if not found:
            yield ": nothing new\n\n"  # a proxy would end a silent response


async def slow(request):
    """Wait without a thread. Answer how many requests were waiting at the end."""
    waiting.append(threading.get_ident())
    await asyncio.sleep(SLOW)
    return report()


def slow_sync(request):
    """Do the same, but wait in a thread."""
    waiting.append(threading.get_ident())
    time.sleep(SLOW)
    return report()


def report():
    """Say how many requests are waiting now, and in how many threads. One stops."""
    answer = {"waiting": len(waiting), "threads": len(set(waiting))}
    waiting.remove(threading.get_ident())
    return JsonResponse(answer)
