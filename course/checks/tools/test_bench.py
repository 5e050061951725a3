"""The measurements read frames, count deliveries and report results correctly."""

import json
import re
import sys
from pathlib import Path

import pytest

from course.bench import driver, figures, raw
from course.bench.client import client_frame, percentile, read_frames, wrong
from course.bench.contenders import CONTENDERS, part_contenders
from course.bench.figures import GOALS, Goal, faults, ratio, report, short, spread
from course.bench.measures import Plan, jobs, measure
from course.checks.tools.conftest import run_course, sentence
from course.core.ports import answers, free_port
from course.stack import Part

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the measurements need Linux")


def server_frame(payload: bytes, first: int = 0x81) -> bytes:
    """Return a frame in the form that servers send."""
    size = len(payload)
    if size < 126:
        return bytes([first, size]) + payload
    if size < 65_536:
        return bytes([first, 126]) + size.to_bytes(2, "big") + payload
    return bytes([first, 127]) + size.to_bytes(8, "big") + payload


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_of_every_size_are_found_wherever_they_are_cut(size):
    """The reader keeps an incomplete frame for later, even if only its first byte has come."""
    first, second = server_frame(b"x" * size), server_frame(b"ping", 0x89)
    (start, end) = (len(first) - size, len(first))
    assert read_frames(first + second) == (
        [(0x81, start, end), (0x89, end + 2, end + 6)],
        end + 6,
    )
    for cut in {1, 2, 3, start, end - 1} & set(range(1, end)):
        assert read_frames(first[:cut]) == ([], 0)
    assert read_frames(first + second[:-1])[1] == end


def test_a_masked_frame_is_no_servers():
    """Only clients mask frames, so the client refuses a masked frame."""
    with pytest.raises(ValueError, match="masks"):
        read_frames(client_frame(0x81, b"hi"))


def said(*messages: tuple[int, int, int]) -> bytes:
    """Return the messages that a socket received: number, sender, and number in the room."""
    return b"".join(
        server_frame(f'{{"message": "{number}.{sender}.1.x", "seq": {seq}}}'.encode())
        for number, sender, seq in messages
    )


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ([(0, 1, 5), (1, 2, 6), (2, 1, 7)], []),
        ([(0, 1, 5), (2, 1, 7)], ["lost 1 of 3", "numbers in order"]),
        ([(0, 1, 5), (1, 2, 6), (1, 2, 6), (2, 1, 7)], ["1 messages twice", "numbers in order"]),
        ([(2, 1, 5), (1, 2, 6), (0, 1, 7)], ["1 messages before an earlier one"]),
        ([(1, 2, 6), (0, 1, 5), (2, 1, 7)], ["numbers in order"]),
    ],
)
def test_what_is_lost_doubled_or_overtaken_is_found(messages, found):
    """Each message comes once, in the order of its sender and of the room."""
    reasons = list(wrong(said(*messages), 3, room_order=True))
    assert len(reasons) == len(found)
    for reason, part in zip(reasons, found, strict=True):
        assert part in reason


def test_senders_may_overtake_each_other_where_no_order_is_promised():
    """The tutorial pattern keeps only the order of each sender."""
    assert list(wrong(said((1, 2, 6), (0, 1, 5), (2, 1, 7)), 3, room_order=False)) == []


def test_an_error_frame_is_a_fault():
    """A server that refuses work must not look fast."""
    data = said((0, 1, 1)) + server_frame(b'{"error": "too many"}')
    assert list(wrong(data, 1, room_order=True)) == ["got errors"]


def test_medians_percentiles_and_digits():
    """The table rounds numbers as these examples do."""
    assert spread([]) is None
    assert spread([3.0, 1.0, 2.0, 9.0]) == figures.Spread(2.5, 1.0, 9.0)
    assert percentile([float(n) for n in range(100, 0, -1)], 99) == 100
    assert percentile([float(n) for n in range(1, 1001)], 99) == 991
    assert percentile([4.0], 50) == 4
    shown = {0.456: "0.46", 9.996: "10.0", 99.94: "99.9", 99.96: "100", 1234.5: "1,234"}
    shown |= {9994.0: "9,994", 12_345.0: "12.3k", 123_456.0: "123k"}
    assert {value: short(value) for value in shown} == shown


def run_of(**rates: float) -> figures.Run:
    """Return a run with these deliveries of each contender, and nothing else."""
    return {name: {"deliveries_100": {"rate": rate, "faults": []}} for name, rate in rates.items()}


def test_a_ratio_is_taken_run_by_run():
    """A busy machine slows both contenders of a run, so their ratio stays right."""
    runs = [run_of(uvicorn=100, tutorial=10), run_of(uvicorn=36, tutorial=3), {}]
    found = ratio(runs, GOALS[0])
    assert (found.median, found.least, found.most) == (11, 10, 12)
    assert ratio([run_of(uvicorn=1)], GOALS[0]) is None


def test_goals_have_two_directions():
    """A goal is a minimum or a maximum."""
    least, most = Goal("", "", "", "", least=10), Goal("", "", "", "", most=1.3)
    assert (least.met(10), least.met(9.9)) == (True, False)
    assert (most.met(1.3), most.met(1.31)) == (True, False)


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
    lines = list(report(results_of(*runs), CONTENDERS))
    assert max(map(len, lines)) < 80
    text = "\n".join(lines)
    assert "half of them after 10 s, all after 23 s." in text.replace("\n", " ")
    assert re.search(r"room of 100 +150k +5,000 +6,000 +25.0k +51.5k\n.* ± 0% +± 1%\n", text)
    assert re.search(
        r"tutorial on Daphne +deliveries, room of 100 +10.3 × .* least 12 +missed", text
    )
    assert re.search(r"limit on websockets +deliveries, room of 100 +0.34 × .* 0.55 +missed", text)
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


def test_parts_are_compared_with_the_part_before(tmp_path):
    """Only the folder of the code differs between contenders, and there are no goals."""
    parts = part_contenders([("5.7", tmp_path / "seven"), ("5.8", tmp_path / "eight")])
    assert [each.code.name for each in parts] == ["seven", "eight"]
    assert parts[0].command == parts[1].command
    results = {"runs": [run_of(**{"5.7": 5000, "5.8": 20_000})]}
    lines = list(report(results, parts))
    assert [line.split() for line in lines] == [
        ["part", "5.7", "part", "5.8"],
        ["uvicorn", "uvicorn"],
        ["deliveries/s,", "room", "of", "100", "5,000", "20.0k"],
        ["×", "4.00"],
    ]


def test_a_wrong_contender_is_named():
    """The report names run, measure and reason of a fault, and shows only the first few faults."""
    run = run_of(daphne=1.0)
    run["daphne"]["deliveries_100"]["faults"] = [f"socket {n} lost 1" for n in range(9)]
    results = results_of(run, faults=["socket 1 ended"])
    assert set(faults(results)) == {"daphne", "uvicorn"}
    text = "\n".join(report(results, CONTENDERS))
    assert "daphne is incorrect:\n  run 1, deliveries_100: socket 0 lost 1" in text
    assert "… and 6 more" in text
    assert "uvicorn is incorrect:\n  crowd: socket 1 ended" in text


def test_who_stores_nothing_is_asked_for_nothing_stored():
    """The contender for the limit of Python has no database, so the load asks for no history."""
    names = {c.name: [name for name, _ in jobs(c, Plan())] for c in CONTENDERS}
    assert set(names["uvicorn"]) - set(names["raw"]) == {"joins", "stored_1", "stored_20"}
    # `idle` comes first: after another measure, the process would reuse freed memory unseen.
    assert {found[0] for found in names.values()} == {"idle"}


def serve(tmp_path: Path, source: str) -> Part:
    """Start the server of `raw.py` with this source."""
    file = tmp_path / "server.py"
    file.write_text(source)
    port = free_port()
    part = Part("raw", [sys.executable, str(file), str(port)], port, tmp_path, tmp_path / "log")
    part.start()
    assert answers(port)
    return part


SOURCE = Path(raw.__file__).read_text()
JOB = {"measure": "deliveries", "sockets": 5, "room": "r", "seconds": 0.1, "in_flight": 4}
JOB |= {"cookies": ["none"], "greets": False, "patience": 0.3, "room_order": True}


@LINUX
def test_a_real_load_counts_what_a_real_server_delivers(tmp_path):
    """Each socket receives each message, and the server's processor time is measured."""
    part = serve(tmp_path, SOURCE)
    try:
        result = measure(Path(sys.executable), part, JOB)
        idle = {"measure": "idle", "warm_up": 2, "sockets": 5, "rooms": 2}
        memory = measure(Path(sys.executable), part, JOB | idle)
    finally:
        part.stop()
    assert result["faults"] == []
    assert result["count"] % 5 == 0
    assert result["rate"] > 100
    assert 0 < result["client"] < 1.1
    assert memory["faults"] == []
    assert memory["base"] > 1000


@LINUX
@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        ("if seq != 7: broadcast(room, json.dumps(frame))", "lost 1 of "),
        ("[broadcast(room, json.dumps(frame)) for _ in range(1 + (seq == 7))]", "1 messages twice"),
        ("broadcast(room, json.dumps(frame)) if seq < 7 else exit()", " ended"),
    ],
)
def test_a_server_that_does_it_wrong_is_found_out(tmp_path, broken, fault):
    """A fast server that loses or doubles a message is reported."""
    whole = "broadcast(room, json.dumps(frame))"
    assert SOURCE.count(whole) == 1
    part = serve(tmp_path, SOURCE.replace(whole, broken))
    try:
        result = measure(Path(sys.executable), part, JOB)
    finally:
        part.stop()
    assert any(fault in each for each in result["faults"])


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
