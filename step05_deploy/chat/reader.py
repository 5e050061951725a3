"""Reading a room: each message once, in order and without holes."""

from .storage import PAGE, read_after


class RoomReader:
    """Passes on a room's messages. Events may be lost; the database has them all."""

    def __init__(self, room, send):
        """Take the room's name, and an async function for each frame."""
        self.room = room
        self.send = send
        self.seq = None  # the number up to which all messages were passed on

    async def take(self, frame):
        """Pass on a frame that the room's group was sent. Raises ``DatabaseError``."""
        if "seq" not in frame:  # an announcement, which is not stored
            return await self.send(frame)
        if frame["seq"] == self.seq + 1:
            await self.send(frame)
            self.seq = frame["seq"]
        while self.seq < frame["seq"]:
            await self.read_page(frame["seq"])

    async def read_page(self, newest):
        """Pass on a page of the stored messages, up to a number at most."""
        frames = await read_after(self.room, self.seq, newest)
        for frame in frames:
            await self.send(frame)
            self.seq = frame["seq"]
        if len(frames) < PAGE:
            # That was all: the messages with the missing numbers were deleted.
            self.seq = newest
