"""The measurements read frames, count deliveries and report results correctly."""

import json
import re
import sys
from pathlib import Path

import pytest

from course.bench import driver, figures, raw
from course.bench.client import client_frame, find_faults, read_frames
from course.bench.contenders import CONTENDERS, step
from course.bench.figures import GOALS, faults, report, short
from course.bench.measures import Plan, jobs, measure
from course.checks.tools.conftest import run_course, sentence
from course.core.ports import answers, free_port
from course.stack import Part

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the measurements need Linux")


def server_frame(payload: bytes, first: int = 0x81) -> bytes:
    """Return a frame in the form that servers send: that of clients, without a mask."""
    head, length = client_frame(first, payload)[:2]
    extended = len(payload).to_bytes(2, "big") if length == 0xFE else b""
    return bytes([head, length & 0x7F]) + extended + payload


@pytest.mark.parametrize("size", [0, 125, 126, 65_535])
def test_frames_of_every_size_are_found_wherever_they_are_cut(size):
    """The reader leaves out an incomplete frame, even if only its first byte has come."""
    first, second = server_frame(b"x" * size), server_frame(b"ping", 0x89)
    both = [(0x81, b"x" * size), (0x89, b"ping")]
    assert list(read_frames(first + second)) == both
    for cut in {1, 2, 3, len(first) - 1} & set(range(1, len(first))):
        assert list(read_frames(first[:cut])) == []
    assert list(read_frames(first + second[:-1])) == both[:1]


def said(*messages: tuple[int, int, int] | str) -> bytes:
    """Return what a socket received: number, sender, and number in the room; or an error."""
    frames = (
        {"error": each} if isinstance(each, str)
        else {"message": f"{each[0]}.{each[1]}.1.x", "seq": each[2]}
        for each in messages
    )  # fmt: skip
    return b"".join(server_frame(json.dumps(frame).encode()) for frame in frames)


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ([(0, 1, 5), (1, 2, 6), (2, 1, 7)], []),
        ([(0, 1, 5), (2, 1, 7)], ["lost 1 of 3", "numbers in order"]),
        ([(0, 1, 5), (1, 2, 6), (1, 2, 6), (2, 1, 7)], ["1 messages twice", "numbers in order"]),
        ([(2, 1, 5), (1, 2, 6), (0, 1, 7)], ["1 messages before an earlier one"]),
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


def test_numbers_have_three_digits():
    """The table rounds numbers as these examples do."""
    shown = {0.456: "0.46", 9.996: "10.0", 99.94: "99.9", 99.96: "100", 1234.5: "1,234"}
    shown |= {9994.0: "9,994", 12_345.0: "12.3k", 123_456.0: "123k"}
    assert {value: short(value) for value in shown} == shown


def run_of(**rates: float) -> figures.Run:
    """Return a run with these deliveries of each contender, and nothing else."""
    return {name: {"deliveries_100": {"rate": rate, "faults": []}} for name, rate in rates.items()}


def test_a_ratio_is_taken_run_by_run():
    """A busy machine slows both contenders of a run, so their ratio stays right."""
    runs = [run_of(uvicorn=100, tutorial=10), run_of(uvicorn=36, tutorial=3), {}]
    assert GOALS[0].ratios(runs) == [10, 12]
    assert GOALS[0].ratios([run_of(uvicorn=1)]) == []


def results_of(*runs: figures.Run, **crowd: object) -> dict[str, object]:
    """Return the results of some runs and of a crowd."""
    whole = {"sockets": 5000, "alive": 5000, "reached": 5000, "pings": 7000, "seconds": 0.5}
    back = {"half": 10.4, "all": 22.6, "faults": []}
    whole = whole | {"faults": []} | crowd
    return {"runs": list(runs), "crowd": whole, "comeback": back, "samples": {}}


def test_the_table_fits_a_terminal_and_says_what_is_met():
    """The table has 80 columns, medians with their spread, and a verdict for each goal."""
    steady = {"raw": 150_000, "tutorial": 5000, "pubsub": 6000, "daphne": 25_000}
    runs = [run_of(**steady, uvicorn=n) for n in (51_000, 52_000)]
    for name, size in (("tutorial", 40), ("uvicorn", 41)):
        runs[0][name]["idle"] = {"memory": size, "faults": []}
    lines = list(report(results_of(*runs), CONTENDERS))
    assert max(map(len, lines)) < 80
    text = "\n".join(lines)
    assert "half of them after 10 s, all after 23 s." in text.replace("\n", " ")
    assert re.search(r"room of 100 +150k +5,000 +6,000 +25.0k +51.5k\n.* ± 0% +± 1%\n", text)
    goal = r"tutorial on Daphne +deliveries, room of 100 +10.3 × .* least 12 +missed"
    assert re.search(goal, text)
    assert re.search(r"limit on websockets +deliveries, room of 100 +0.34 × .* 0.55 +missed", text)
    assert re.search(r"memory per connection +1.02 × ± 0% +at most 1 +missed", text)
    assert "deliveries, room of 500" not in text.split("against …")[0]
    assert "one message reached 5,000" in " ".join(lines)
    assert "incorrect" not in text


def test_a_goal_that_is_missed_is_told_with_where_the_time_goes():
    """The report names the worker's processor time, and the packages that used the time."""
    run = run_of(raw=150_000, uvicorn=50_000)
    run["uvicorn"]["deliveries_100"] |= {"server": 0.914, "client": 0.17}
    samples = {"deliveries_100": [("websockets", 0.6), ("chat", 0.39), ("re", 0.01)]}
    text = " ".join(report(results_of(run) | {"samples": samples}, CONTENDERS))
    assert "deliveries, room of 100: the worker 91% and the load 17% of a core." in text
    assert "The worker's time by package: websockets 60%, chat 39%." in text


def test_parts_are_compared_with_the_part_before():
    """The table of the parts has ratios, and no goals."""
    parts = [step("5.7", "part 5.7", "uvicorn"), step("5.8", "part 5.8", "uvicorn")]
    results = {"runs": [run_of(**{"5.7": 5000, "5.8": 20_000})]}
    assert [line.split() for line in report(results, parts)] == [
        ["part", "5.7", "part", "5.8"],
        ["uvicorn", "uvicorn"],
        ["deliveries/s,", "room", "of", "100", "5,000", "20.0k"],
        ["×", "4.00"],
    ]


def test_a_wrong_contender_is_named():
    """The report names run, measure and reason of a fault, and shows only the first few faults."""
    run = run_of(daphne=1.0)
    run["daphne"]["deliveries_100"]["faults"] = [f"socket {n} lost 1" for n in range(9)]
    results = results_of(run) | {"crowd": {"faults": ["not joined: 503"], "sockets": 5000}}
    assert set(faults(results)) == {"daphne", "uvicorn"}
    text = "\n".join(report(results, CONTENDERS))
    assert "daphne is incorrect:\n  run 1, deliveries_100: socket 0 lost 1" in text
    assert "socket 3 lost 1" not in text
    assert "… and 6 more" in text
    assert "uvicorn is incorrect:\n  crowd: not joined: 503" in text


def test_a_server_that_stores_nothing_is_not_asked_for_a_history():
    """The contender for the limit of Python has no database, so the load asks for no history."""
    names = {c.name: [*jobs(c, Plan())] for c in CONTENDERS}
    assert set(names["uvicorn"]) - set(names["raw"]) == {"joins", "stored_1", "stored_20"}
    # `idle` comes first: after another measure, the process would reuse freed memory unseen.
    assert {found[0] for found in names.values()} == {"idle"}


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
        common = {"sockets": 5, "room": "r", "rooms": 2, "cookies": ["none"], "greets": False}
        common |= {"history": 0, "patience": 0.3, "room_order": True, "postgres": None}
        try:
            return measure(Path(sys.executable), part, common | job)
        finally:
            part.stop()

    return run


TALK = {"seconds": 0.1, "in_flight": 4, "rooms": 1}


@LINUX
def test_a_real_load_counts_what_a_real_server_delivers(load):
    """Each socket receives each message, and the server's processor time is measured."""
    result = load({"measure": "deliveries"} | TALK)
    assert result["faults"] == []
    assert result["count"] % 5 == 0
    assert result["rate"] > 100
    assert 0 < result["client"] < 1.1


@LINUX
@pytest.mark.parametrize(
    ("job", "keys"),
    [
        ({"measure": "idle", "warm_up": 2}, {"rate", "cpu", "base", "memory"}),
        ({"measure": "joins"}, {"count", "rate", "cpu"}),
        ({"measure": "latency", "rate": 50} | TALK, {"median", "p99"}),
        ({"measure": "stored"} | TALK | {"rooms": 2}, {"count", "rate", "cpu"}),
        (
            {"measure": "crowd", "seconds": 0.1, "rooms": 1},
            {"joined", "alive", "pings", "reached", "seconds"},
        ),
    ],
    ids=lambda value: value["measure"] if isinstance(value, dict) else "",
)
def test_each_measure_gives_the_figures_that_are_kept(load, job, keys):
    """docs/bench.json has these names, and a correct server has no faults."""
    result = load(job)
    assert result.keys() == keys | {"faults", "client", "server"}
    assert result["faults"] == []
    assert result.get("base", 2000) > 1000
    assert result.get("reached", 5) == 5


@LINUX
@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        ("if counters[path] != 7: broadcast(", "lost 1 of "),
        ("for _ in range(1 + (counters[path] == 7)): broadcast(", "1 messages twice"),
        ("if counters[path] >= 7: exit()\n            broadcast(", " ended"),
    ],
)
def test_a_server_that_does_it_wrong_is_found_out(load, broken, fault):
    """A fast server that loses or doubles a message is reported."""
    result = load({"measure": "deliveries"} | TALK, "broadcast(rooms", f"{broken}rooms")
    assert any(fault in each for each in result["faults"])


@LINUX
def test_a_server_that_refuses_everybody_is_found_out(load):
    """The fault is the answer to the handshake."""
    result = load({"measure": "joins"}, "compression=None", "process_request=lambda *_: 1 / 0")
    assert result["faults"] == ["not joined: HTTP/1.1 500 Internal Server Error"]


@LINUX
def test_an_idle_crowd_answers_pings(load):
    """A server that gets no answers closes its connections, so nobody would be alive."""
    often = "compression=None, ping_interval=0.1, ping_timeout=0.2"
    result = load({"measure": "crowd", "seconds": 0.6, "rooms": 1}, "compression=None", often)
    assert (result["alive"], result["reached"], result["faults"]) == (5, 5, [])
    assert result["pings"] >= 5


@LINUX
def test_pages_come_back(load):
    """Each page tries until the server tells it that it has everything."""
    greeting = "    await connection.send('caught_up')\n    try:\n"
    result = load({"measure": "comeback"}, "    try:\n", greeting)
    assert result.keys() == {"half", "all", "tries", "faults"}
    assert 0 < result["half"] <= result["all"]
    assert result["tries"] >= 5


@LINUX
@pytest.mark.parametrize(("faults", "code"), [([], 0), (["socket 1 lost 1 of 9 messages"], 1)])
def test_the_exit_code_is_for_what_is_wrong_alone(tmp_path, monkeypatch, capsys, faults, code):
    """A lost message makes the command fail; a missed goal does not. The raw numbers are kept."""
    results = results_of(run_of(tutorial=5000, uvicorn=1), faults=faults)
    monkeypatch.setattr(driver, "collect", lambda *arguments: results)
    monkeypatch.setattr(driver.environment, "ensure_everything", lambda root: Path(sys.executable))
    assert driver.bench("1", root=tmp_path) == code
    assert json.loads((tmp_path / driver.RESULTS).read_text()) == results
    assert "missed" in capsys.readouterr().out


def test_the_number_of_runs_is_a_number():
    """The command answers any other text with one sentence."""
    assert "RUNS must be a number from 1 to 25" in sentence(run_course("bench", "--runs=many"))
