"""A hole that cannot be filled: the clients come back, and read what they missed."""

from django.db import OperationalError

from chat import reader

from .test_live import TOO_SLOW, hears, is_closed_with, join, stored, tell

__all__ = ["join"]  # a fixture


async def test_clients_come_back_when_a_hole_cannot_be_filled(join, monkeypatch):
    """The database is away for a moment. All clients of the room get 4013."""

    async def fail(room, seq, newest):
        raise OperationalError("the database has gone")

    sockets = [await join(), await join()]
    await stored("lost")
    with monkeypatch.context() as patch:
        patch.setattr(reader, "read_after", fail)
        await tell(await stored("two"))
        for socket in sockets:
            assert await is_closed_with(socket) == TOO_SLOW
    await hears(await join("/ws/chat/lobby/?after=0"), "lost", "two")
