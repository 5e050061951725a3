"""Write and read frames as JSON."""

import asyncio
import json
import re
from contextlib import suppress
from urllib.parse import quote

from django.test import Client
from websockets.exceptions import ConnectionClosed

SECONDS = 10  # longer than any answer takes: a test that waits this long has failed
SIGNED_OUT = 4001  # the close code for a client that is not signed in


def socket_path(room):
    """Return the path of a room's socket, encoded as the page encodes it."""
    return f"/ws/chat/{quote(room, safe='')}/"


async def say(socket, message, **more):
    """Send one message through a real socket."""
    await socket.send(json.dumps({"message": message, **more}))


async def hear(socket):
    """Return the next frame that a real socket receives, as a dict."""
    return json.loads(await asyncio.wait_for(socket.recv(), SECONDS))


async def hear_inside(communicator):
    """Return the next frame that a client in this process receives, as a dict."""
    return await communicator.receive_json_from(SECONDS)


async def close_code(socket):
    """Return the code with which the server closes a socket that hears nothing before."""
    try:
        heard = await hear(socket)
    except ConnectionClosed:
        return socket.close_code
    except TimeoutError:
        heard = "nothing"
    raise AssertionError(f"the socket is open, and hears {heard}")


async def refusal(socket):
    """Return the close code of a socket whose messages the server must ignore."""
    with suppress(ConnectionClosed):
        await say(socket, "let me in")
    return await close_code(socket)


async def history_of(socket):
    """Return the frames that a socket received before the one that it sends now."""
    await say(socket, "now")
    frames = []
    while (frame := await hear(socket)).get("message") != "now":
        frames.append(frame)
    return frames


def session_cookie(user):
    """Sign a user in, and return the value of the browser's ``sessionid`` cookie."""
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


def submit(visitor, path, to=None, **fields):
    """Send the form of a page as a browser does, with its CSRF token; ``to``: its action."""
    page = visitor.get(path)
    assert page.status_code == 200, f"no page at {path}"
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert token, f"no form at {path}"
    return visitor.post(to or path, data={"csrfmiddlewaretoken": token[1], **fields})
