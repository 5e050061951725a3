"""Storing together: drafts that come during a transaction go into the next one."""

import asyncio
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from channels.layers import get_channel_layer
from django.contrib.auth import get_user_model
from django.db import IntegrityError, OperationalError, connection
from django.test.utils import CaptureQueriesContext

from chat import writer
from chat.models import Message, Room
from chat.storage import Draft, store
from chat.writer import BATCH, Writer

from .helpers import SECONDS, hear_inside
from .server import STEP


@pytest.fixture
def gone(empty_database):
    """Return a user who was deleted a moment ago."""
    user = get_user_model().objects.create_user("gone")
    get_user_model().objects.filter(pk=user.pk).delete()
    return user


def draft(user, text, client_id=None, room="lobby"):
    """Return a draft."""
    return Draft(room, user, text, client_id)


def results(stored):
    """Return what matters of each result: its room's number, and whether it is new."""
    return [
        "refused" if isinstance(each, IntegrityError) else (each[0]["seq"], each[1])
        for each in stored
    ]


def numbers(room):
    """Return the numbers of a room's messages, in order."""
    messages = Message.objects.filter(room=room).order_by("seq")
    return list(messages.values_list("seq", flat=True))


# --- one batch


def test_a_batch_is_one_transaction(ann):
    """A hundred messages of ten rooms cost as many queries as one message."""
    rooms = [f"{number}" for number in range(10)]
    store([draft(ann, "first", room=room) for room in rooms])
    with CaptureQueriesContext(connection) as one:
        store([draft(ann, "one", "one", room="0")])
    batch = [draft(ann, "hi", f"{n}", room=rooms[n % 10]) for n in range(100)]
    with CaptureQueriesContext(connection) as hundred:
        stored = store(batch)
    assert len(hundred) == len(one) < 10
    assert [frame["message"] for frame, _ in stored] == ["hi"] * 100
    for room in rooms:
        seq = Room.objects.get(name=room).seq
        assert seq == (12 if room == "0" else 11)
        assert numbers(room) == list(range(1, seq + 1))


def test_each_draft_has_its_own_result(ann):
    """The results come in the order of the drafts, whatever their rooms are."""
    batch = [draft(ann, f"{n}", f"{n}", room="ba"[n % 2]) for n in range(6)]
    stored = store(batch)
    assert [frame["message"] for frame, _ in stored] == [f"{n}" for n in range(6)]
    assert [frame["client_id"] for frame, _ in stored] == [f"{n}" for n in range(6)]
    assert results(stored) == [(n // 2 + 1, True) for n in range(6)]
    # The frames are those that the history has.
    for frame, _ in stored:
        message = Message.objects.get(pk=frame["id"])
        assert frame == message.as_frame()


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("place", [0, -1])
def test_a_draft_that_cannot_be_stored_fails_alone(ann, gone, count, place):
    """Its user was deleted. The others are stored, and no number is missing."""
    batch = [draft(ann, f"{number}") for number in range(count)]
    batch.insert(place % (count + 1), draft(gone, "from nobody"))
    stored = results(store(batch))
    assert stored.pop(place) == "refused"
    assert stored == [(number, True) for number in range(1, count + 1)]
    assert numbers("lobby") == list(range(1, count + 1))


def test_the_same_client_id_twice_in_a_batch_is_stored_once(ann):
    """A client may send a message again before the first one is stored."""
    batch = [draft(ann, "hi", "a"), draft(ann, "ho", "b"), draft(ann, "hi", "a")]
    store([draft(ann, "first")])
    with CaptureQueriesContext(connection) as queries:
        stored = store(batch)
    assert results(stored) == [(2, True), (3, True), (2, False)]
    assert [query["sql"][:5] for query in queries].count("BEGIN") == 1
    assert stored[0][0] == stored[2][0]
    # And after it was stored.
    assert results(store([*batch, draft(ann, "new", "c")])) == [
        (2, False),
        (3, False),
        (2, False),
        (4, True),
    ]
    assert numbers("lobby") == [1, 2, 3, 4]


def test_a_client_id_belongs_to_one_person_and_one_room(ann, django_user_model):
    """Clients make up their ids. The same one elsewhere is another message."""
    ben = django_user_model.objects.create_user("ben")
    batch = [draft(ann, "1", "a"), draft(ben, "2", "a"), draft(ann, "3", "a", "other")]
    assert results(store(batch)) == [(1, True), (2, True), (1, True)]
    assert results(store(batch)) == [(1, False), (2, False), (1, False)]


def test_messages_without_a_client_id_are_all_stored(ann):
    """Nobody can tell whether they are the same."""
    batch = [draft(ann, "hi")] * 3
    assert results(store(batch)) == [(1, True), (2, True), (3, True)]


def test_an_error_of_the_database_stores_nothing(ann, monkeypatch):
    """The whole batch fails, and may be sent again."""

    def fail(*args, **options):
        raise OperationalError("the database has gone")

    batch = [draft(ann, "hi", "a"), draft(ann, "ho", "b")]
    with monkeypatch.context() as patch:
        patch.setattr(Room.objects, "bulk_create", fail)
        with pytest.raises(OperationalError):
            store(batch)
    assert not Message.objects.exists()
    assert results(store(batch)) == [(1, True), (2, True)]


# --- the writer of a process


class Database:
    """The function ``store``, which waits until the test lets it go on."""

    def __init__(self):
        """Start closed."""
        self.batches = []
        self.open = threading.Event()
        self.error = None

    def __call__(self, drafts):
        """Store one batch, when the test allows it."""
        self.batches.append([draft.text for draft in drafts])
        assert self.open.wait(SECONDS)
        if self.error:
            raise self.error
        return [(draft.text, True) for draft in drafts]

    async def is_busy(self):
        """Wait until a batch has come."""
        async with asyncio.timeout(SECONDS):
            while not self.batches:
                await asyncio.sleep(0.005)


@pytest.fixture
def database(monkeypatch):
    """Put such a function in the place of the real one."""
    database = Database()
    monkeypatch.setattr(writer, "store", database)
    yield database
    database.open.set()


async def test_all_drafts_that_wait_go_into_one_batch(database, ann):
    """The first one does not wait. The next ones wait for its transaction together."""
    writer = Writer()
    futures = [writer.store(draft(ann, "first"))]
    await database.is_busy()
    futures += [writer.store(draft(ann, f"{number}")) for number in range(BATCH + 1)]
    database.open.set()
    stored = await asyncio.wait_for(asyncio.gather(*futures), SECONDS)
    texts = [f"{number}" for number in range(BATCH + 1)]
    assert [text for text, _ in stored] == ["first", *texts]
    assert database.batches == [["first"], texts[:BATCH], texts[BATCH:]]
    # The writer has come to its end, and starts again.
    assert writer.writing is None
    assert await writer.store(draft(ann, "later")) == ("later", True)


async def test_all_who_wait_are_told_of_an_error_at_once(database, ann):
    """Each attempt takes seconds without a database: one is enough for everybody."""
    writer = Writer()
    database.error = OperationalError("the database has gone")
    futures = [writer.store(draft(ann, "first"))]
    await database.is_busy()
    futures += [writer.store(draft(ann, f"{number}")) for number in range(5)]
    database.open.set()
    answers = await asyncio.wait_for(
        asyncio.gather(*futures, return_exceptions=True), SECONDS
    )
    assert answers == [database.error] * 6
    assert database.batches == [["first"]]
    database.error = None
    assert await writer.store(draft(ann, "later")) == ("later", True)


async def test_a_sender_that_has_gone_does_not_stop_the_others(database, ann):
    """A consumer may be cancelled while its message is stored, or waits."""
    writer = Writer()

    async def sender(text):
        return await writer.store(draft(ann, text))

    senders = [asyncio.create_task(sender("in the batch"))]
    await database.is_busy()
    senders += [asyncio.create_task(sender(text)) for text in ["waiting", "staying"]]
    await asyncio.sleep(0)
    for gone in senders[:2]:
        gone.cancel()
    await asyncio.sleep(0)
    database.open.set()
    stored = await asyncio.wait_for(
        asyncio.gather(*senders, return_exceptions=True), SECONDS
    )
    assert [type(answer) for answer in stored[:2]] == [asyncio.CancelledError] * 2
    assert stored[2] == ("staying", True)
    assert await writer.store(draft(ann, "later")) == ("later", True)


# --- in the chat


async def test_clients_are_told_which_message_was_not_stored(join, monkeypatch):
    """Each sender gets an error with its own client_id, and sends it again."""
    attempts = []

    def fail(drafts):
        attempts.append(len(drafts))
        time.sleep(0.3)
        raise OperationalError("the database has gone")

    sockets = [await join() for _ in range(5)]
    with monkeypatch.context() as patch:
        patch.setattr(writer, "store", fail)
        for number, socket in enumerate(sockets):
            message = {"message": "hi", "client_id": f"{number}"}
            await socket.send_json_to(message)
            await asyncio.sleep(0.02)
        for number, socket in enumerate(sockets):
            answer = await hear_inside(socket)
            assert answer["client_id"] == f"{number}"
            assert answer["retry_after"] > 0
    assert attempts == [1]
    await sockets[0].send_json_to({"message": "hi", "client_id": "0"})
    for socket in sockets:
        assert (await hear_inside(socket))["client_id"] == "0"
        await socket.disconnect()
    await get_channel_layer().flush()


async def test_a_crowd_is_stored_in_few_transactions(join, monkeypatch):
    """All sockets of a process share its writer, whatever their rooms are."""
    sizes = []

    def count(drafts):
        sizes.append(len(drafts))
        return store(drafts)

    monkeypatch.setattr(writer, "store", count)
    sockets = [await join(f"/ws/chat/{number % 4}/") for number in range(20)]
    for _ in range(5):
        for socket in sockets:
            await socket.send_json_to({"message": "hi"})
    for socket in sockets:
        seqs = [(await hear_inside(socket))["seq"] for _ in range(25)]
        assert seqs == list(range(1, 26))
        await socket.disconnect()
    assert sum(sizes) == 100
    assert len(sizes) < 50
    await get_channel_layer().flush()


CROWD = """
import random, sys
from django.contrib.auth import get_user_model
from chat.storage import Draft, store

ann = get_user_model().objects.get(username="ann")
for turn in range(30):
    rooms = random.sample("abcdefgh", 4) + [f"new {turn}"]
    random.shuffle(rooms)
    for frame, is_new in store([Draft(room, ann, "hi", None) for room in rooms]):
        assert is_new
print("done")
"""


def test_processes_that_share_rooms_do_not_wait_for_each_other_for_ever(ann, server):
    """Batches have the same rooms in any order, and new rooms too. None is refused."""
    command = [sys.executable, "manage.py", "shell", "-v0", "-c", CROWD]
    crowd = [
        subprocess.Popen(
            command,
            cwd=STEP,
            env=server.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    for process in crowd:
        printed, _ = process.communicate(timeout=50)
        assert printed.strip().endswith("done"), printed
    for room in Room.objects.all():
        assert numbers(room.name) == list(range(1, room.seq + 1))
    assert Message.objects.count() == 2 * 30 * 5


def test_threads_that_share_rooms_leave_no_hole(ann):
    """Several writers of one process, as in a moment when one follows another."""

    def write(writer):
        random.seed(writer)
        for turn in range(10):
            rooms = random.sample("abcd", 3)
            store([draft(ann, "hi", f"{writer}.{turn}", room) for room in rooms])
        connection.close()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write, number) for number in range(4)]:
            done.result(timeout=50)
    for room in "abcd":
        assert numbers(room) == list(range(1, Room.objects.get(name=room).seq + 1))
    assert Message.objects.count() == 4 * 10 * 3
