"""The model of docs/scaling.md gives numbers worked out by hand, and the page has its tables."""

import re
import shutil
from pathlib import Path

import pytest

from course.bench import capacity
from course.bench.capacity import Need, largest, processes_with, read_costs
from course.bench.driver import RESULTS
from course.bench.scaling import KEPT, PAGE, scaling
from course.core.steps import ROOT
from course.core.terminal import UserError

# Round numbers for mental arithmetic.
COSTS = {
    "delivery": 10, "message": 1000, "heard": 100, "join": 5000,
    "memory": 32, "base": 65_536, "crowd": 5000, "room": 1000,
    "database_message": 500, "database_join": 2000, "database_counter": 5,
    "redis_message": 1, "redis_subscriber": 1,
}  # fmt: skip


def test_a_class_needs_one_of_each():
    """30 people in one room send 6 messages a minute each: 3 messages, 90 deliveries a second."""
    found = Need(30, 30, 6, COSTS)
    assert (found.messages, found.deliveries) == (3, 90)
    # 3 × 1 ms + 90 × 10 µs is 0.0039 of a core.
    assert found.wanted == {"messages": 1, "connections": 1, "reconnecting": 1}
    assert (found.published, found.redis_servers, found.counters) == (3, 1, 0.5)
    # PostgreSQL needs 3 × 500 µs + 0.5 × 5 µs a second, on cores that are half busy.
    assert found.database_cores == pytest.approx(0.003005)
    assert found.database_connections == 20
    assert found.network == pytest.approx(0.216)  # 90 × 300 bytes
    assert found.memory == pytest.approx(0.0634, rel=0.001)  # 64 MiB + 30 × 32 KiB
    assert found.back == pytest.approx(0.15)
    assert found.shares["a room's counter"] == pytest.approx(0.003)


def test_messages_decide_where_people_talk():
    """10,000 people in pairs send 6 messages a minute each: 1,000 messages a second."""
    found = Need(10_000, 2, 6, COSTS)
    # One worker alone needs 1,000 × (1 ms + 20 µs), which is 1.02 cores. At half a core each, these
    # are 3 workers. A pair is on 3 × (1 - (2/3)²) = 5/3 of the 3 workers. With 1,000 × 2/3 × 100 µs
    # more, the workers need 1.087 cores, and 3 workers suffice.
    assert found.wanted == {"messages": 3, "connections": 2, "reconnecting": 1}
    assert (found.workers, largest(found.wanted)) == (3, "messages")
    assert found.published == pytest.approx(1000 * 5 / 3)
    assert found.counters == pytest.approx(5000 * 5 / 3 / 2)
    # 1,000 × 500 µs + 4,167 × 5 µs is 0.52 of a core.
    assert found.database_cores == pytest.approx(1.0417, abs=0.0001)


def test_connections_decide_where_people_are_silent():
    """A million silent people need as many workers as their connections fill."""
    found = Need(1_000_000, 100, 0, COSTS)
    # Reconnecting takes 1,000,000 × 5 ms = 5,000 s of one core: 84 workers need a minute.
    assert found.wanted == {"messages": 1, "connections": 200, "reconnecting": 84}
    assert largest(found.wanted) == "connections"
    assert found.back == pytest.approx(125)  # PostgreSQL: 1,000,000 × 2 ms / 16 cores
    assert found.database_connections == 4000
    # Each worker reads 10,000 × 200 × (1 - (199/200)^100) / 200 counters, about 3,942.
    assert found.counters == pytest.approx(394_231, rel=0.001)
    assert largest(found.shares) == "PostgreSQL"
    # Joining may cost ten times as much: after a restart, all clients connect at the same time.
    found = Need(1_000_000, 100, 0, COSTS | {"join": 50_000})
    assert (found.workers, largest(found.wanted)) == (834, "reconnecting")


def test_each_part_may_be_full_first():
    """A big room needs the network, a busy room its counter, and many processes need Redis."""
    found = Need(100_000, 100_000, 0.9, COSTS)
    assert found.shares["a room's counter"] == pytest.approx(1.5)
    # 150 million deliveries a second need 1,500 cores.
    assert found.workers > 3000
    assert found.network == pytest.approx(360_000)
    assert largest(found.shares) == "network"
    assert largest(Need(2000, 2000, 40, COSTS).shares) == "a room's counter"
    costs = COSTS | {"redis_subscriber": 100, "database_message": 1, "crowd": 100}
    found = Need(10_000, 100, 6, costs)
    assert largest(found.shares) == "Redis"
    assert 0 <= found.redis_servers - found.shares["Redis"] < 1


@pytest.mark.parametrize(
    ("size", "workers", "expected"), [(1, 7, 1), (5, 1, 1), (2, 2, 1.5), (1000, 3, 3)]
)
def test_a_room_is_on_some_of_the_workers(size, workers, expected):
    """A room of one person is on one worker, a room of two on one or two, a large room on all."""
    assert processes_with(size, workers) == pytest.approx(expected)


def test_costs_are_read_from_what_was_measured():
    """The costs are medians; in many rooms, two people receive each message."""
    measured = {
        "deliveries_500": {"cpu": 10.0},
        "stored_20": {"cpu": 1020.0, "postgres": 400.0}, "stored_1": {"rate": 1500.0},
        "joins": {"cpu": 4.0, "postgres": 900.0}, "idle": {"memory": 30.0, "base": 70_000},
    }  # fmt: skip
    parts = {"sweep_us": 5.0, "publish_us": 1.0, "subscriber_us": 0.5, "hear_us": 90.0}
    slow = {name: {key: 9 * value for key, value in measured[name].items()} for name in measured}
    results = {"runs": [{"uvicorn": run} for run in (slow, measured, measured)], "parts": parts}
    results |= {"crowd": {"alive": 5000, "sockets": 5000}, "comeback": {"all": 20.0}}
    assert read_costs(results) == {
        "delivery": 10, "message": 1000, "heard": 90, "join": 4000, "memory": 30, "base": 70_000,
        "crowd": 5000, "room": 1500, "database_message": 400, "database_join": 900,
        "database_counter": 5, "redis_message": 1, "redis_subscriber": 0.5,
    }  # fmt: skip


def test_the_model_knows_the_step():
    """The model has the step's interval of sweeps and its limit of connections."""
    live, settings = (
        (ROOT / "step05_deploy" / name).read_text()
        for name in ("chat/live.py", "config/settings.py")
    )
    assert f"\nSWEEP = {capacity.SWEEP:g}  #" in live
    assert f'"max_size": {capacity.POOL},' in settings


@pytest.fixture
def copy(tmp_path) -> Path:
    """Return a folder with the page and its figures."""
    (tmp_path / "docs").mkdir()
    for file in (PAGE, KEPT):
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def test_the_page_is_what_its_figures_say(capsys):
    """docs/scaling.md has the tables that follow from docs/bench.json."""
    assert scaling(check=True) == 0
    assert capsys.readouterr().out == "docs/scaling.md: up to date.\n"


def test_a_stale_page_is_found_and_written_anew(copy, capsys):
    """The command replaces a number that somebody changed by hand."""
    fresh = (copy / PAGE).read_text()
    (copy / PAGE).write_text(fresh.replace("| 1,000,000 |", "| 2,000,000 |", 1))
    assert scaling(check=True, root=copy) == 1
    assert "Run: make scaling" in capsys.readouterr().err
    assert scaling(root=copy) == 0
    assert (copy / PAGE).read_text() == fresh


def test_a_table_without_its_place_is_told(copy):
    """If the marks of a table are missing, a sentence says so."""
    (copy / PAGE).write_text((copy / PAGE).read_text().replace("<!-- needs:", "<!-- nedes:"))
    with pytest.raises(UserError, match="one place for each of: measured, compared, costs, needs"):
        scaling(root=copy)


def test_the_last_measurement_is_taken_when_asked_for(copy):
    """Without `--take`, a new measurement does not change the page."""
    with pytest.raises(UserError, match="Run: make bench"):
        scaling(take=True, root=copy)
    (copy / RESULTS).parent.mkdir(parents=True)
    (copy / RESULTS).write_text((copy / KEPT).read_text().replace('"cpus": ', '"cpus": 9'))
    assert scaling(check=True, root=copy) == 0
    assert scaling(take=True, root=copy) == 0
    assert re.search(r"shared 9\d+ cores", (copy / PAGE).read_text())


def test_a_measurement_that_lacks_something_is_not_taken(copy):
    """If a measurement has no crowd, for example, the page and its figures stay."""
    before = [(copy / file).read_bytes() for file in (PAGE, KEPT)]
    (copy / RESULTS).parent.mkdir(parents=True)
    (copy / RESULTS).write_text((copy / KEPT).read_text().replace('"alive"', '"gone"'))
    with pytest.raises(UserError, match=r"results.json lacks .*'alive'.* run make bench"):
        scaling(take=True, root=copy)
    assert [(copy / file).read_bytes() for file in (PAGE, KEPT)] == before
