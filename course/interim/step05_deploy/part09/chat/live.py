"""The rooms with sockets in this process: each message once and in order."""

from .fanout import Subscription
from .reader import RoomReader
from .storage import read_seq


class LiveRoom(Subscription):
    """A room, for as long as this process has sockets in it."""

    def __init__(self, group, name):
        super().__init__(group)
        self.name = name
        self.reader = RoomReader(name, self.hand_out)

    async def subscribed(self):
        """Read the counter. Subscribe first: a message after that is an event."""
        self.reader.seq = await read_seq(self.name)

    async def chat_message(self, event):
        """Hand out an event of the group, in order and without holes."""
        await self.reader.take(event["frame"])

    async def room_counted(self, event):
        """Read what was lost, up to the counter in the database."""
        while self.reader.seq < event["seq"]:
            await self.reader.read_page(event["seq"])
