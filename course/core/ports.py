"""The ports on which the course's servers listen, all of them on 127.0.0.1."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import cycle

from course.core.terminal import UserError

HOST = "127.0.0.1"
# The steps' own tests use ports below these, and outgoing connections have higher ones. Chromium
# refuses none of these ports.
FIRST, LAST = 20_000, 32_000


def parse_number(name: str, text: str, least: int, most: int) -> int:
    """Return the number in `text`; raise UserError unless it is from `least` to `most`."""
    if text.isdecimal() and least <= int(text) <= most:
        return int(text)
    raise UserError(f"{name} must be a number from {least} to {most}, not {text!r}.")


def parse_port(text: str) -> int:
    """Return the port number in `text`; raise UserError if there is none."""
    return parse_number("PORT", text, 1024, 65535)


def answers(port: int) -> bool:
    """Tell whether a server accepts connections on `port`."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def is_free(port: int) -> bool:
    """Tell whether a server could listen on `port`."""
    if answers(port):
        return False
    with suppress(OSError), socket.create_server((HOST, port)):
        return True
    return False


@cache
def own_ports() -> tuple[socket.socket, Iterator[int]]:
    """Return the ports of this process, and a socket on the port before them.

    The socket guards the hundred ports: another process finds it, and takes the next hundred.
    """
    for first in range(FIRST, LAST, 100):
        with suppress(OSError):
            return socket.create_server((HOST, first)), cycle(range(first + 1, first + 100))
    raise UserError(
        f"All ports from {FIRST} to {LAST} are in use: end the programs that hold them."
    )


def free_port() -> int:
    """Return a free port, which no other process of the course takes."""
    _, ports = own_ports()
    return next(port for port in ports if is_free(port))


def require_free(port: int, command: str) -> None:
    """Raise UserError unless `port` is free; suggest `command` with a free port."""
    if not is_free(port):
        other = next(filter(is_free, range(8001, 65536)))
        raise UserError(
            f"Port {port} is already in use: choose another, for example: {command} PORT={other}"
        )
