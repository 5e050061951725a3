"""The model of docs/scaling.md gives numbers worked out by hand, and the page has its tables."""

import math
import re
import shutil
from pathlib import Path

import pytest

from course.bench import capacity
from course.bench.capacity import need
from course.bench.tables import KEPT, PAGE, RESULTS, scaling
from course.core.steps import ROOT
from course.core.terminal import UserError

# Round numbers for mental arithmetic.
COSTS = {
    "delivery, µs of a worker": 10, "message, µs of a worker": 1000,
    "hearing, µs of a worker": 100, "return, µs of a worker": 5000,
    "message, µs of PostgreSQL": 500, "join, µs of PostgreSQL": 2000,
    "counter, µs of PostgreSQL": 5,
    "message, µs of Redis": 1, "hearing, µs of Redis": 1,
    "connection, KiB": 32, "empty worker, KiB": 65_536,
    "connections of a worker": 5000, "messages per second in one room": 1000,
}  # fmt: skip


def test_a_class_needs_one_of_each():
    """30 people in one room send 6 messages a minute each: 3 messages, 90 deliveries a second."""
    row = need(30, 30, 6, COSTS)
    # 3 × 1 ms + 90 × 10 µs is 0.0039 of a core.
    assert (row["messages/s"], row["deliveries/s"], row["workers"]) == (3, 90, 1)
    assert (row["messages × processes/s"], row["Redis servers"], row["counters/s"]) == (3, 1, 0.5)
    # PostgreSQL needs 3 × 500 µs + 0.5 × 5 µs a second, on cores that are half busy.
    assert row["PostgreSQL's cores"] == pytest.approx(0.003005)
    assert row["network, Mbit/s"] == pytest.approx(0.216)  # 90 × 300 bytes
    assert row["their memory, GiB"] == pytest.approx(0.0634, rel=0.001)  # 64 MiB + 30 × 32 KiB
    assert row["all back after, s"] == pytest.approx(0.15)


def test_messages_decide_where_people_talk():
    """10,000 people in pairs send 6 messages a minute each: 1,000 messages a second."""
    row = need(10_000, 2, 6, COSTS)
    # One worker alone needs 1,000 × (1 ms + 20 µs), which is 1.02 cores. At half a core each, these
    # are 3 workers. A pair is on 3 × (1 - (2/3)²) = 5/3 of the 3 workers. With 1,000 × 2/3 × 100 µs
    # more, the workers need 1.087 cores, and 3 workers suffice.
    assert (row["workers"], row["because of"]) == (3, "messages")
    assert row["messages × processes/s"] == pytest.approx(1000 * 5 / 3)
    assert row["counters/s"] == pytest.approx(5000 * 5 / 3 / 2)
    # 1,000 × 500 µs + 4,167 × 5 µs is 0.52 of a core.
    assert row["PostgreSQL's cores"] == pytest.approx(1.0417, abs=0.0001)


def test_connections_decide_where_people_are_silent():
    """A million silent people need as many workers as their connections fill."""
    row = need(1_000_000, 100, 0, COSTS)
    assert (row["workers"], row["because of"]) == (200, "connections")
    assert row["all back after, s"] == pytest.approx(125)  # PostgreSQL: 1,000,000 × 2 ms / 16 cores
    # Each worker reads 10,000 × 200 × (1 - (199/200)^100) / 200 counters, about 3,942.
    assert row["counters/s"] == pytest.approx(394_231, rel=0.001)
    assert row["full first"] == "PostgreSQL (25%)"
    # Joining may cost ten times as much: after a restart, all clients connect at the same time.
    row = need(1_000_000, 100, 0, COSTS | {"return, µs of a worker": 50_000})
    assert (row["workers"], row["because of"]) == (834, "reconnecting")


def test_each_part_may_be_full_first():
    """A big room needs the network, a busy room its counter, and many processes need Redis."""
    row = need(100_000, 100_000, 0.9, COSTS)
    # 150 million deliveries a second need 1,500 cores.
    assert row["workers"] > 3000
    assert row["full first"] == "network (3600%)"
    assert need(2000, 2000, 40, COSTS)["full first"] == "a room's counter (133%)"
    costs = COSTS | {"hearing, µs of Redis": 100, "message, µs of PostgreSQL": 1}
    row = need(10_000, 100, 6, costs | {"connections of a worker": 100})
    full = float(re.fullmatch(r"Redis \((\d+)%\)", row["full first"])[1]) / 100
    assert 0 <= row["Redis servers"] - full < 1


def test_the_model_knows_the_step():
    """The model has the step's interval of sweeps."""
    live = (ROOT / "step05_deploy" / "chat" / "live.py").read_text()
    assert f"\nSWEEP = {capacity.SWEEP:g}  #" in live


@pytest.fixture
def copy(tmp_path) -> Path:
    """Return a folder with the page and its figures."""
    (tmp_path / "docs").mkdir()
    for file in (PAGE, KEPT):
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def test_the_page_is_what_its_figures_say(copy, capsys):
    """docs/scaling.md follows from docs/bench.json; a number changed by hand is replaced."""
    fresh = (copy / PAGE).read_text()
    assert scaling(root=copy) == 0
    assert capsys.readouterr().out == "docs/scaling.md: up to date.\n"
    (copy / PAGE).write_text(fresh.replace("| 1,000,000 |", "| 2,000,000 |", 1))
    assert scaling(root=copy) == 0
    assert (copy / PAGE).read_text() == fresh


@pytest.fixture
def measured(copy) -> Path:
    """Return the file of a new measurement, on more processors."""
    (copy / RESULTS).parent.mkdir(parents=True)
    (copy / RESULTS).write_text((copy / KEPT).read_text().replace('"cpus": ', '"cpus": 9'))
    return copy / RESULTS


def test_the_last_measurement_is_taken_when_asked_for(copy, measured):
    """Without `--take`, a new measurement does not change the page."""
    before = (copy / PAGE).read_text()
    assert scaling(root=copy) == 0
    assert (copy / PAGE).read_text() == before
    assert scaling(take=True, root=copy) == 0
    assert re.search(r"shared 9\d+ cores", (copy / PAGE).read_text())


def test_the_workers_of_the_plain_pattern():
    """The page says how many workers 41,700 deliveries a second take; each has half a core."""
    text = " ".join((ROOT / PAGE).read_text("utf-8").split())
    row = re.search(r"\| deliveries/s of half a core \| ([\d, |]+) \|", text)
    daphne, uvicorn, *step5 = (int(cell.replace(",", "")) for cell in row[1].split(" | "))
    assert min(daphne, uvicorn) > 833
    assert "the plain pattern takes sixteen workers, and step 5 takes one" in text
    assert [math.ceil(41_700 / rate) for rate in (uvicorn, step5[-1])] == [16, 1]


def test_a_page_that_cannot_be_written_is_told(copy, measured):
    """If a table has no place, or a measurement has no crowd, the page and its figures stay."""
    before = [(copy / file).read_bytes() for file in (PAGE, KEPT)]
    measured.write_text((copy / KEPT).read_text().replace('"reached"', '"gone"'))
    with pytest.raises(UserError, match=r"results.json lacks .*'reached'.* run make bench"):
        scaling(take=True, root=copy)
    measured.unlink()
    with pytest.raises(UserError, match="Run: make bench"):
        scaling(take=True, root=copy)
    assert [(copy / file).read_bytes() for file in (PAGE, KEPT)] == before
    (copy / PAGE).write_text((copy / PAGE).read_text().replace("<!-- needs:", "<!-- nedes:"))
    with pytest.raises(UserError, match="each of: measured, compared, plain, costs, needs, shared"):
        scaling(root=copy)
