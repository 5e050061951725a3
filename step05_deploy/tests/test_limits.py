"""Limits: a flood is slowed down, then closed, and guessing passwords is slow work."""

import asyncio
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from unittest.mock import ANY, Mock

import pytest
from channels.layers import get_channel_layer
from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import ValidationError
from django.db import connection
from django.http import HttpRequest
from django.test import Client
from websockets.exceptions import ConnectionClosed

from chat import consumers, limits, reader
from chat.consumers import ChatConsumer
from chat.limits import MAX_FAILURES, MAX_SOCKETS, Person, RateLimit
from chat.models import Room
from chat.storage import PAGE

from .helpers import SECONDS, close_code, hear, hear_any, hear_inside, say, submit
from .server import UvicornWorker

FLOODING = 4008
PASSWORD = "correct horse battery"
WAIT_A_MINUTE = "Too many wrong passwords. Try again in a minute."

# --- messages


@pytest.fixture(scope="module")
def worker(django_db_setup, tmp_path_factory):
    """Run one server on the tests' database, with a small limit."""
    worker = UvicornWorker(
        tmp_path_factory.mktemp("limits") / "log",
        DATABASE_URL=f"sqlite:///{settings.DATABASES['default']['NAME']}",
        CHAT_MESSAGE_RATE="2",
        CHAT_MESSAGE_BURST="10",
    )
    worker.start()
    yield worker
    worker.stop()


async def test_a_burst_passes_and_more_has_to_wait(connect, worker):
    """Ten messages pass at once. The others pass when they are sent again as told."""
    socket = await connect(server=worker)
    for number in range(13):
        await say(socket, f"message {number}", client_id=f"{number}")
    answers = [await hear(socket) for _ in range(13)]
    passed = [answer["client_id"] for answer in answers if "seq" in answer]
    assert passed[:10] == [f"{number}" for number in range(10)]
    refused = [answer for answer in answers if "error" in answer]
    assert refused

    async def again(answer):
        await asyncio.sleep(answer["retry_after"])
        await say(socket, "again", client_id=answer["client_id"])

    await asyncio.gather(*[again(answer) for answer in refused])
    for answer in refused:
        message = await hear(socket)
        assert message["client_id"] == answer["client_id"]
        assert "seq" in message


def test_each_refused_message_has_a_turn_of_its_own(settings, monkeypatch):
    """A message that comes back at its turn passes, whenever the others were refused."""
    settings.CHAT_MESSAGE_RATE, settings.CHAT_MESSAGE_BURST = 2, 2
    now = 100.0
    monkeypatch.setattr("chat.limits.time.monotonic", lambda: now)
    limit = RateLimit()
    assert [limit.count(), limit.count()] == [0, 0]
    turns = []
    for now in [100.0, 100.3, 100.4]:  # the clock reads it
        turns.append(now + limit.count())
    for now in turns:  # noqa: B007
        assert limit.count() == 0


async def test_all_sockets_of_a_person_share_one_limit(connect, worker, bens_session):
    """A second tab gives no second burst. Another person has a burst of their own."""
    sockets = [await connect(f"/ws/chat/{n}/", server=worker) for n in range(3)]
    for number in range(18):
        await say(sockets[number % 3], "hi")
    answers = [await hear(sockets[number % 3]) for number in range(18)]
    assert 10 <= sum("seq" in answer for answer in answers) < 18
    bens = await connect("/ws/chat/0/", server=worker, session=bens_session)
    await say(bens, "hi from Ben")
    while (heard := await hear(bens))["message"] != "hi from Ben":
        assert heard["username"] == "ann"


async def test_a_new_connection_brings_no_new_burst(connect, worker):
    """The server remembers the people who came last, also without a socket."""
    for room, count in [("first", 10), ("second", 8)]:
        socket = await connect(f"/ws/chat/{room}/", server=worker)
        for _ in range(count):
            await say(socket, "hi")
        answers = [await hear(socket) for _ in range(count)]
        await socket.close()
    assert sum("seq" in answer for answer in answers) < 8


async def test_mistakes_take_no_turn_of_a_message(connect, worker):
    """After ten bad frames at once, ten messages may pass."""
    socket = await connect(server=worker)
    for _ in range(10):
        await socket.send("no JSON")
    for number in range(10):
        await say(socket, f"message {number}")
    answers = [await hear(socket) for _ in range(20)]
    assert ["error" in answer for answer in answers] == [True] * 10 + [False] * 10


@pytest.mark.parametrize("frame", ["garbage", '{"message": "hi"}'])
async def test_a_flood_is_cut_off(connect, worker, bens_session, frame):
    """A client that does not stop is closed with 4008. Other people go on."""
    flooding = await connect("/ws/chat/flood/", server=worker)
    other = await connect(server=worker, session=bens_session)

    async def flood():
        with suppress(ConnectionClosed):
            for _ in range(10_000):
                await flooding.send(frame)
                await asyncio.sleep(0)

    sending = asyncio.create_task(flood())
    errors = 0
    with suppress(ConnectionClosed):
        while True:
            errors += "error" in await hear(flooding)
    await sending
    assert flooding.close_code == FLOODING
    assert 10 <= errors < 40
    await say(other, "all quiet")
    assert (await hear(other))["message"] == "all quiet"


async def test_a_huge_frame_closes_its_socket_alone(connect, worker, bens_session):
    """More than 64 KiB is answered with 1009, or the client would send it again."""
    huge = await connect(server=worker)
    other = await connect(server=worker, session=bens_session)
    await huge.send("x" * 70_000)
    assert await close_code(huge) == 1009
    await say(other, "all quiet")
    assert (await hear(other))["message"] == "all quiet"


# --- sockets


async def test_one_person_may_open_fifty_sockets(connect, worker, bens_session):
    """The next one gets an error that says why, and 4008. A closed one makes room."""
    sockets = [await connect(server=worker) for _ in range(MAX_SOCKETS)]
    refused = await connect(server=worker)
    error = await hear_any(refused)
    assert error == {"error": "You have 50 connections open. Close some of them."}
    assert await close_code(refused) == FLOODING
    await connect(server=worker, session=bens_session)
    await say(sockets[0], "the others go on")
    for socket in sockets:
        assert (await hear(socket))["message"] == "the others go on"
    await sockets.pop().close()
    async with asyncio.timeout(SECONDS):
        while "error" in await hear_any(await connect(server=worker)):
            await asyncio.sleep(0.05)


@pytest.fixture
async def join(join):
    """Join as the common fixture does. Broken sockets leave nothing behind."""
    yield join
    await get_channel_layer().flush()


async def test_the_sockets_of_a_person_read_one_page_at_a_time(join, monkeypatch):
    """The threads that read from the database are few, and other people need some."""
    await Room.objects.acreate(name="lobby", seq=2 * PAGE + 1)
    running, most = 0, 0

    async def read_after(room, seq, newest):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return [{"seq": n} for n in range(seq + 1, min(seq + PAGE, newest) + 1)]

    monkeypatch.setattr(reader, "read_after", read_after)
    sockets = await asyncio.gather(
        *[join("/ws/chat/lobby/?after=0") for _ in range(4)]
    )
    for socket in sockets:
        for seq in range(1, 2 * PAGE + 2):
            assert await hear_inside(socket) == {"seq": seq}
        await socket.disconnect()
    assert most == 1


async def test_a_socket_that_broke_makes_room_too(ann, join, monkeypatch):
    """An exception that leaves a consumer skips ``disconnect``. The set is weak."""

    async def receive(self, text_data=None, bytes_data=None):
        raise RuntimeError("a mistake in the program")

    async def break_one():
        broken = await join()
        await broken.send_json_to({"message": "hi"})
        with suppress(RuntimeError):
            await broken.wait()

    monkeypatch.setattr(consumers, "MAX_SOCKETS", 2)
    with monkeypatch.context() as patch:
        patch.setattr(ChatConsumer, "receive", receive)
        for _ in range(3):
            await break_one()
    await asyncio.sleep(0)  # until then, this task holds the exception that woke it
    gc.collect()  # on its own it comes later
    assert not Person.of(ann).consumers
    first, second, third = await join(), await join(), await join()
    assert list(await hear_inside(third)) == ["error"]
    for socket in [first, second]:
        await socket.disconnect()


# --- passwords


@pytest.fixture
def cat(stranger):
    """Sign up a user with a password, and return the name."""
    name = f"cat{time.monotonic_ns()}"  # the servers of the tests count by name
    fields = {"username": name, "password1": PASSWORD, "password2": PASSWORD}
    submit(stranger, "/accounts/signup/", **fields)
    stranger.cookies.clear()
    return name


def ask(client, username, password):
    """Ask for a token; return the status of the answer."""
    fields = {"username": username, "password": password}
    return client.post("/api/token/", json=fields).status_code


def sign_in(client, path, username, password):
    """Sign in with a form; return the page that follows."""
    return submit(client, path, username=username, password=password)


def test_only_wrong_passwords_are_counted(stranger, cat):
    """A right password never waits. After five wrong ones, that name has to wait."""
    for _ in range(10):
        assert ask(stranger, cat, PASSWORD) == 200
    with ThreadPoolExecutor(10) as pool:
        at_once = pool.map(lambda _: ask(stranger, cat, PASSWORD), range(10))
        assert set(at_once) == {200}
    victim = f"{cat} the victim"
    statuses = [ask(stranger, victim, f"{number}") for number in range(7)]
    assert statuses == [401] * MAX_FAILURES + [429] * 2
    assert ask(stranger, cat, PASSWORD) == 200


def test_one_count_for_the_token_the_form_and_the_admin(stranger, cat):
    """After five wrong passwords, each page says that the person has to wait."""
    assert ask(stranger, cat, "wrong") == 401
    for path in ["/accounts/login/", "/admin/login/"] * 2:
        page = sign_in(stranger, path, cat, "wrong").text
        assert "Please enter" in page
        assert WAIT_A_MINUTE not in page
    # From now on, the right password has to wait too: a guess may be right.
    answer = stranger.post("/api/token/", json={"username": cat, "password": PASSWORD})
    assert (answer.status_code, answer.json()) == (429, {"error": WAIT_A_MINUTE})
    for path in ["/accounts/login/", "/admin/login/"]:
        page = sign_in(stranger, path, cat, PASSWORD).text
        assert WAIT_A_MINUTE in page
        assert "Please enter" not in page
    assert "/accounts/login/" in stranger.get("/chat/").url


def test_many_guesses_at_once_are_five_tries(stranger, cat, monkeypatch):
    """A guess counts before it is checked, so parallel guesses do not slip through."""
    passwords = [f"{number}" for number in range(24)]
    passwords.insert(12, PASSWORD)
    with ThreadPoolExecutor(25) as pool:
        statuses = list(pool.map(lambda guess: ask(stranger, cat, guess), passwords))
    assert statuses.pop(12) in (200, 429)
    assert set(statuses) == {401, 429}
    assert statuses.count(401) <= MAX_FAILURES

    tried = []

    def authenticate(self, request, username=None, password=None, **kwargs):
        tried.append(password)
        time.sleep(0.02)

    monkeypatch.setattr(ModelBackend, "authenticate", authenticate)
    with ThreadPoolExecutor(24) as pool:
        statuses = list(pool.map(lambda guess: ask_inside(cat, guess), passwords))
    assert statuses.count(401) == len(tried) == MAX_FAILURES


def test_right_passwords_at_once_lock_nobody_out(cat, monkeypatch):
    """Two processes may check more than five at once. Refused tries are not counted."""
    monkeypatch.setattr(limits, "checking", threading.BoundedSemaphore(30))
    authenticate = ModelBackend.authenticate

    def authenticate_slowly(self, *arguments, **options):
        time.sleep(0.1)
        return authenticate(self, *arguments, **options)

    monkeypatch.setattr(ModelBackend, "authenticate", authenticate_slowly)
    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(lambda _: ask_inside(cat, PASSWORD), range(12)))
    assert set(statuses) == {200, 429}
    assert ask_inside(cat, PASSWORD) == 200


def ask_inside(username, password):
    """Ask for a token in this process; return the status of the answer."""
    fields = {"username": username, "password": password}
    return Client().post("/api/token/", fields).status_code


def test_passwords_are_checked_a_few_at_a_time(monkeypatch):
    """A guess that waits for its turn uses no database connection: the chat does."""
    running, most, connected = [], 0, []

    class Turns:
        """The semaphore, which also notes whether a thread waits with a connection."""

        semaphore = threading.BoundedSemaphore(4)
        release = semaphore.release

        def acquire(self, timeout):
            connected.append(connection.connection is not None)
            return self.semaphore.acquire(timeout=timeout)

    def authenticate(self, request, username=None, password=None, **kwargs):
        nonlocal most
        running.append(username)
        most = max(most, len(running))
        connection.ensure_connection()
        time.sleep(0.05)
        running.pop()

    assert limits.checking._initial_value == 4
    monkeypatch.setattr(limits, "checking", Turns())
    monkeypatch.setattr(ModelBackend, "authenticate", authenticate)
    guesses = [f"guess {number}" for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(lambda name: ask_inside(name, "x"), guesses)) == {401}
    assert most == 4
    assert connected == [False] * 12


def test_a_long_queue_of_passwords_is_refused(stranger, monkeypatch):
    """A person who would wait for long is told so, instead of waiting."""
    monkeypatch.setattr(limits, "checking", threading.BoundedSemaphore(1))
    monkeypatch.setattr(limits, "QUEUE_LIMIT", 0.01)
    limits.checking.acquire()
    fields = {"username": "ann", "password": "x"}
    answer = Client().post("/api/token/", fields)
    assert answer.status_code == 429
    assert answer.json()["error"].startswith("Too many people sign in now.")


def test_a_minute_that_ends_between_two_calls_of_the_cache(monkeypatch):
    """The count is gone, or Redis makes a new one. Then this guess is the first."""
    cache = Mock()
    monkeypatch.setattr(limits, "cache", cache)
    cache.incr.side_effect = ValueError
    assert ask_inside("ann", "wrong") == 401
    cache.touch.assert_not_called()
    cache.incr = Mock(return_value=1)
    assert ask_inside("ann", "wrong") == 401
    cache.touch.assert_called_once_with(ANY, limits.FAILURES_LAST)


def test_a_right_password_at_the_end_of_the_minute_passes(monkeypatch, ann):
    """The count of the wrong ones may be gone when the check of this one ends."""
    monkeypatch.setattr(limits, "FAILURES_LAST", 0.05)

    def authenticate(self, request, username=None, password=None, **kwargs):
        time.sleep(0.1)
        return ann

    monkeypatch.setattr(ModelBackend, "authenticate", authenticate)
    assert ask_inside("ann", "right") == 200


def test_code_signs_in_as_before(client, django_user_model):
    """``Client().login()`` has no request. It works as with Django's own backend."""
    django_user_model.objects.create_superuser("root", password=PASSWORD)
    assert not client.login(username="root", password="wrong")
    assert client.login(username="root", password=PASSWORD)
    assert client.get("/admin/").status_code == 200
    client.logout()
    fields = {"username": "root", "password": PASSWORD, "next": "/admin/"}
    assert client.post("/admin/login/", fields).url == "/admin/"


def test_a_request_without_an_address_is_counted_too():
    """On a Unix socket, the server does not know where a request comes from."""
    request = HttpRequest()
    credentials = {"username": "dog", "password": "wrong"}
    for _ in range(MAX_FAILURES):
        assert authenticate(request, **credentials) is None
    with pytest.raises(ValidationError, match=WAIT_A_MINUTE):
        authenticate(request, **credentials)
