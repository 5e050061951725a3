"""The answers of chapter 1: tests that run in step 1, where they are tests/test_answers.py."""

import json
import threading

import pytest
from channels.generic.websocket import JsonWebsocketConsumer, WebsocketConsumer
from channels.testing import WebsocketCommunicator

from chat.consumers import EchoConsumer
from config.asgi import application

ORIGIN = (b"origin", b"http://localhost")


def client_of(consumer):
    """Return a client of this consumer."""
    return WebsocketCommunicator(consumer.as_asgi(), "/ws/echo/")


async def test_a_slow_receive_blocks_the_other_clients():
    """While the first client's method waits for the second client's, the second cannot run."""
    second_runs, met = threading.Event(), []

    class SlowConsumer(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            if text_data == "second":
                second_runs.set()
            else:
                met.append(second_runs.wait(0.5))
            self.send(text_data)

    first, second = client_of(SlowConsumer), client_of(SlowConsumer)
    for client in (first, second):
        await client.connect()
    await first.send_to("first")
    await second.send_to("second")
    assert await first.receive_from() == "first"
    assert await second.receive_from() == "second"
    assert met == [False]


async def test_each_connection_has_its_own_consumer():
    """An attribute of one consumer is missing in the other."""
    consumers = []

    class KeepingConsumer(EchoConsumer):
        def connect(self):
            consumers.append(self)
            self.name = f"number {len(consumers)}"
            super().connect()

    for _ in range(2):
        await client_of(KeepingConsumer).connect()
    assert [consumer.name for consumer in consumers] == ["number 1", "number 2"]


async def test_a_client_without_an_origin_is_refused():
    """The validator closes before it accepts, which a server turns into HTTP 403."""
    for headers, connected in (([], False), ([ORIGIN], True)):
        client = WebsocketCommunicator(application, "/ws/echo/", headers=headers)
        assert (await client.connect())[0] is connected


async def test_brackets_without_end_get_a_sentence():
    """The answer is an error, and the next good frame gets its own answer."""
    client = client_of(EchoConsumer)
    await client.connect()
    await client.send_to(10_000 * "[")
    assert "This is not valid JSON" in (await client.receive_json_from())["error"]
    await client.send_json_to({"message": "hello"})
    assert await client.receive_json_from() == {"message": "Echo: hello"}


async def test_an_exception_skips_disconnect():
    """The consumer ends with its exception. Without one, the same client's end is told."""
    ended = []

    class FragileConsumer(EchoConsumer):
        def receive(self, text_data=None, bytes_data=None):
            raise ValueError("a mistake")

        def disconnect(self, code):
            ended.append(code)

    wrong, right = client_of(FragileConsumer), client_of(FragileConsumer)
    for client in (wrong, right):
        await client.connect()
    await wrong.send_to("anything")
    with pytest.raises(ValueError, match="a mistake"):
        await wrong.wait()
    assert ended == []
    await right.disconnect(code=1001)
    assert ended == [1001]


async def test_an_own_decode_json_saves_the_connection():
    """`decode_json` may answer for JSON that is none; without it, the consumer ends."""

    class StrictConsumer(JsonWebsocketConsumer):
        def receive_json(self, content):
            self.send_json(content)

    class PatientConsumer(StrictConsumer):
        @classmethod
        def decode_json(cls, text_data):
            try:
                return super().decode_json(text_data)
            except ValueError:
                return {"error": "This is not valid JSON."}

    strict, patient = client_of(StrictConsumer), client_of(PatientConsumer)
    for client in (strict, patient):
        await client.connect()
        await client.send_to("nonsense")
    with pytest.raises(json.JSONDecodeError):
        await strict.wait()
    assert await patient.receive_json_from() == {"error": "This is not valid JSON."}
    await patient.send_json_to({"message": "hello"})
    assert await patient.receive_json_from() == {"message": "hello"}
