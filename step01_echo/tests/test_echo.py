"""A socket is a conversation: connect, receive, disconnect."""

import logging

from channels.testing import WebsocketCommunicator

from config.asgi import application

from .helpers import hear, say


async def test_the_server_answers_each_message(connect):
    """Each message is answered on the same connection."""
    socket = await connect()
    for message in ["hi", "how are you?", "日本語 🎉", "  spaces stay  "]:
        await say(socket, message)
        assert await hear(socket) == {"message": f"Echo: {message}"}


async def test_two_clients_have_two_conversations(connect):
    """A client hears the answers to its own messages only."""
    first, second = await connect(), await connect()
    await say(first, "one")
    await say(second, "two")
    assert await hear(first) == {"message": "Echo: one"}
    assert await hear(second) == {"message": "Echo: two"}


async def test_a_closed_tab_is_a_disconnect(caplog):
    """The consumer is told when its client goes, and with which close code."""
    caplog.set_level(logging.INFO, "chat")
    # A communicator is a client inside the test, without a server or a network. The
    # test can therefore look at the consumer's log. It sends no Origin by itself; our
    # server needs one.
    origin = (b"origin", b"http://localhost")
    communicator = WebsocketCommunicator(application, "/ws/echo/", headers=[origin])
    connected, subprotocol = await communicator.connect()
    assert connected

    await communicator.disconnect(code=1001)

    assert caplog.messages == ["connect /ws/echo/", "disconnect /ws/echo/ 1001"]
