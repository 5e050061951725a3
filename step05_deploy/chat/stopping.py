"""A stop signal: close the sockets with 1012, finish what is being stored, then stop.

uvicorn would send 1012, and Daphne nothing: it just ends, and a browser sees 1006. So the
application does it, on both alike, before it lets the server have the signal.
"""

import asyncio
import logging
import signal
import threading

from .protocol import RESTARTING

logger = logging.getLogger(__name__)

PATIENCE = 5  # seconds that clients have to close, and the database to store


def stop_gently(process):
    """Have stop signals close the sockets of ``process`` first; return a function that ends this.

    ``process`` is a ``live.Process``.
    """
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in [signal.SIGTERM, signal.SIGINT]}

    def stop(number, frame):
        restore()  # a second signal goes to the server at once
        asyncio.run_coroutine_threadsafe(close_then_stop(process, number), loop)

    def restore():
        for number, handler in before.items():
            if signal.getsignal(number) is stop:
                signal.signal(number, handler)

    # Python has signals in its main thread only; a development server that reloads itself runs in
    # another.
    if threading.current_thread() is threading.main_thread():
        for number in before:
            signal.signal(number, stop)
    return restore


async def close_then_stop(process, number):
    """Close all sockets, wait until they are gone, and hand the signal to the server.

    A socket is gone when the message that it has sent is stored.
    """
    process.stopping = True
    logger.info("stopping: %d sockets", len(process.sockets))
    for socket in process.sockets:
        socket.close(RESTARTING)
    # The subscription of the process ends with its last socket.
    await asyncio.wait([process.receiving], timeout=PATIENCE)
    if process.sockets:
        logger.warning("stopping: %d sockets did not close", len(process.sockets))
    signal.raise_signal(number)
