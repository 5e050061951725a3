"""The measurements read frames, count deliveries and report results correctly."""

import asyncio
import json
import re
import socket
import sys
from pathlib import Path

import pytest

from course.bench import driver, raw, tables
from course.bench.load import JOB, Client, find_faults
from course.core.ports import answers, free_port
from course.stack.part import Part

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the measurements need Linux")


@pytest.mark.parametrize(
    ("data", "answer", "ended"),
    [
        pytest.param(b"\x81\x02{}\x89\x02hi", b"\x8a\x82", "", id="ping"),
        pytest.param(b"\x89\x04h\x88\x01i", b"\x8a\x84", "", id="ping like a close"),
        pytest.param(b"\x81\x02{}\x88\x02\x0f\xa1", b"", "closed with 4001", id="close"),
        pytest.param(b"\x81\x7e\x01\x88" + b"{" * 392, b"", "", id="length like a close"),
        pytest.param(b"", b"", "closed by the server", id="end"),
    ],
)
def test_pings_are_answered_and_closes_are_noted(data, answer, ended):
    """The length of a message, or a ping, may have the bytes of a close."""

    async def receive() -> tuple[bytes, str]:
        client = Client(JOB | {"room": "r"}, 0)
        client.socket, other = socket.socketpair()
        client.receive(data)
        client.socket.close()
        return other.recv(99), client.ended

    sent, noted = asyncio.run(receive())
    assert (sent[:2], noted) == (answer, ended)


def said(*messages: tuple[int, int, int] | str) -> bytes:
    """Return what a socket received: number, sender, and number in the room; or an error."""
    frames = (
        {"error": each} if isinstance(each, str)
        else {"message": f"{each[0]}.{each[1]}.1.x", "seq": each[2]}
        for each in messages
    )  # fmt: skip
    return b"".join(b"\x81\x40" + json.dumps(frame).encode() for frame in frames)


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ([(0, 1, 5), (1, 2, 6), (2, 1, 7)], []),
        ([(0, 1, 5), (2, 1, 7)], ["lost 1 of 3", "numbers in order"]),
        ([(0, 1, 5), (1, 2, 6), (1, 2, 6), (2, 1, 7)], ["1 messages twice", "numbers in order"]),
        ([(2, 1, 5), (1, 2, 6), (0, 1, 7)], ["one sender out of order"]),
        ([(1, 2, 6), (0, 1, 5), (2, 1, 7)], ["numbers in order"]),
        ([(0, 1, 5), (1, 2, 6), (2, 1, 7), "too many"], ["got errors"]),
    ],
)
def test_lost_doubled_and_overtaken_messages_are_found(messages, found):
    """Each message comes once, in the order of its sender and of the room, without errors."""
    reasons = find_faults(said(*messages), 3, True)
    assert len(reasons) == len(found)
    for reason, part in zip(reasons, found, strict=True):
        assert part in reason
    # The tutorial pattern keeps only the order of each sender.
    assert find_faults(said(*messages), 3, False) == [r for r in reasons if "numbers" not in r]


def run_of(**rates: float) -> dict[str, dict[str, dict[str, float]]]:
    """Return a run with these deliveries of each contender, and nothing else."""
    return {name: {"deliveries_100": {"rate": rate}} for name, rate in rates.items()}


def test_a_ratio_is_taken_run_by_run():
    """A busy machine slows both contenders of a run, so their ratio stays right."""
    runs = [run_of(uvicorn=100, tutorial=10), run_of(uvicorn=36, tutorial=3), {}]
    assert tables.values(runs, "uvicorn", "deliveries_100", "rate", "tutorial") == [10, 12]
    assert tables.values(runs, "uvicorn", "deliveries_100", "rate", "raw") == []


def results_of(*runs: dict[str, object], faults: tuple[str, ...] = ()) -> dict[str, object]:
    """Return the results of some runs and of a crowd."""
    crowd = {"sockets": 5000, "reached": 5000, "seconds": 0.5, "server": 0.03}
    crowd |= {"half": 10.4, "all": 22.6}
    return {"runs": list(runs), "crowd": crowd, "faults": list(faults)}


def test_the_table_fits_a_terminal_and_says_what_is_met():
    """The table has 80 columns, medians, and a verdict for each goal."""
    steady = {"raw": 150_000, "tutorial": 5000, "pubsub": 6000, "daphne": 25_000}
    runs = [run_of(**steady, uvicorn=n) for n in (51_000, 52_000)]
    for name, size in (("tutorial", 40), ("uvicorn", 41)):
        runs[0][name]["idle"] = {"memory": size}
    lines = list(tables.report(results_of(*runs), tables.TITLES))
    assert max(map(len, lines)) < 80
    text = "\n".join(lines)
    assert re.search(r"room of 100 +150,000 +5,000 +6,000 +25,000 +51,500\n", text)
    assert re.search(r"of 100 +tutorial on Daphne +10.3 +at least 12 +missed\n", text)
    assert re.search(r"of 100 +limit on websockets +0.343 +at least 0.55 +missed\n", text)
    assert re.search(r"memory per connection +tutorial on Daphne +1.02 +at most 1 +missed\n", text)
    assert re.search(r"of 500 +limit on websockets +– +at least 0.55 +–\n", text)
    flowing = text.replace("\n", " ")
    assert "half of them after 10 s, all after 23 s." in flowing
    assert "one message reached 5,000" in flowing


def test_parts_are_compared_with_the_part_before():
    """The table of the parts has ratios, and no goals."""
    parts = {number: f"part 5.{number} on uvicorn" for number in ("7", "8")}
    results = results_of(run_of(**{"7": 5000, "8": 20_000}))
    text = "\n".join(tables.report(results, parts))
    assert re.search(r"(?m)^deliveries/s, room of 100 +5,000 +20,000$", text)
    assert re.search(r"(?m)^× deliveries/s, room of 100 +4$", text)


@LINUX
def test_a_wrong_contender_is_named(monkeypatch):
    """The report names contender, job and reason; the figures of the others are shown."""
    raw_run = {"deliveries_100": {"rate": 150_000, "faults": ["2 sockets lost 1 of 9 messages"]}}
    runs = iter([raw_run, {}, {}, {}, {}, {"crowd": {"faults": ["refused"]}, "parts": {}}])
    monkeypatch.setattr(driver, "measure", lambda *arguments: next(runs))
    results = driver.collect(Path(sys.executable), 1, driver.CONTENDERS, tables.TITLES, {})
    text = "\n".join(tables.report(results, tables.TITLES))
    assert "\nlimit on websockets, deliveries_100: 2 sockets lost 1 of 9 messages\n" in text
    assert text.endswith("\nstep 5 on uvicorn, crowd: refused")
    assert re.search(r"room of 100 +150,000 +–", text)


@pytest.fixture
def load(tmp_path):
    """Return a function that runs `raw.py`, with some of its text replaced, and measures it."""

    def run(job: dict[str, object], old: str = "", new: str = "") -> dict[str, object]:
        source = Path(raw.__file__).read_text()
        assert not old or source.count(old) == 1
        file = tmp_path / "server.py"
        file.write_text(source.replace(old, new) if old else source)
        port = free_port()
        part = Part("raw", [sys.executable, str(file), str(port)], port, tmp_path, tmp_path / "log")
        part.start()
        assert answers(port)
        common = {"sockets": 5, "room": "r", "cookies": ["none"], "kind": "limit"}
        common |= {"patience": 0.3, "port": port, "pid": part.pid, "postgres": part.pid}
        try:
            return driver.do(Path(sys.executable), common | job)
        finally:
            part.stop()

    return run


TALK = {"seconds": 0.1, "senders": 5}
FIGURES = {"sockets", "seconds", "rate", "cpu", "client", "server", "postgres", "base", "memory"}
FIGURES |= {"faults"}
SAID = {"median", "p99", "reached"}


@LINUX
@pytest.mark.parametrize(
    ("job", "keys"),
    [
        pytest.param({"warm_up": 2}, FIGURES, id="joins"),
        pytest.param(TALK, FIGURES | SAID, id="deliveries"),
        pytest.param(TALK | {"rate": 50}, FIGURES | SAID, id="latency"),
        pytest.param(TALK | {"rooms": 2, "stores": True}, FIGURES | SAID, id="stored"),
        pytest.param(
            {"silence": 0.1, "senders": 1, "seconds": 0},
            FIGURES | SAID - {"median", "p99"} | {"half", "all"},
            id="crowd",
        ),
    ],
)
def test_each_job_gives_the_figures_that_are_kept(load, job, keys):
    """docs/bench.json has these names, and a correct server has no faults."""
    result = load(job)
    assert result["faults"] == []
    assert result.keys() == keys
    assert result["base"] > 1000
    assert 0 < result["client"] < 1.1
    assert 0 < result.get("half", 1) <= result.get("all", 1)
    if job == TALK:
        assert result["rate"] > 100
    if "silence" in job:
        assert result["reached"] == 5


@LINUX
@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        ("if number != 7: broadcast(", "lost 1 of "),
        ("for _ in range(1 + (number == 7)): broadcast(", "1 messages twice"),
        ("if number >= 7: exit()\n        broadcast(", "sockets were closed"),
    ],
)
def test_a_server_that_does_it_wrong_is_found_out(load, broken, fault):
    """A fast server that loses or doubles a message is reported."""
    result = load(TALK, "broadcast(rooms", f"{broken}rooms")
    assert any(fault in each for each in result["faults"])


@LINUX
@pytest.mark.parametrize(
    ("job", "fault"),
    [
        ({}, "ConnectionRefusedError: HTTP/1.1 500 Internal Server Error"),
        ({"silence": 1, "at_most": 0.5}, "TimeoutError"),
    ],
)
def test_a_server_that_refuses_everybody_is_found_out(load, job, fault):
    """The fault is the answer to the handshake; a crowd tries again until its time is over."""
    result = load(job, "compression=None", "process_request=lambda *_: 1 / 0")
    assert result == {"faults": [fault]}


@LINUX
def test_an_idle_crowd_answers_pings(load):
    """A server that gets no answers closes its connections, so nobody would hear the message."""
    often = "compression=None, ping_interval=0.1, ping_timeout=0.2"
    result = load({"silence": 0.6, "senders": 1, "seconds": 0}, "compression=None", often)
    assert (result["reached"], result["faults"]) == (5, [])


@LINUX
def test_a_crowd_that_loses_its_server_is_found_out(load):
    """The sockets may end in the silence before the message."""
    ends = "await asyncio.sleep(0.2); await connection.close(4001); rooms[path].add"
    result = load({"silence": 0.6, "senders": 1, "seconds": 0}, "rooms[path].add", ends)
    assert result["faults"] == ["5 sockets were closed with 4001"]


@LINUX
@pytest.mark.parametrize(("faults", "code"), [((), 0), (("raw, latency: lost 1",), 1)])
def test_the_exit_code_is_for_what_is_wrong_alone(tmp_path, monkeypatch, capsys, faults, code):
    """A lost message makes the command fail; a missed goal does not. The raw numbers are kept."""
    results = results_of(run_of(tutorial=5000, uvicorn=1), faults=faults)
    monkeypatch.setattr(driver, "collect", lambda *arguments: results)
    monkeypatch.setattr(driver.environment, "ensure_everything", lambda root: Path(sys.executable))
    assert driver.bench("1", root=tmp_path) == code
    assert json.loads((tmp_path / tables.RESULTS).read_text()) == results
    assert "missed" in capsys.readouterr().out
