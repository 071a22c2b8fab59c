"""The benches do the work that they measure. What they find of this machine is not tested."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import trio

from bench.__main__ import BENCHMARKS
from bench.benchmark import Scale, Silent, percentile, spread_ms
from bench.clock import JumpingClock
from bench.growth import Sample, sum_up
from bench.lag import watched_steps
from bench.provenance import ROOT, provenance
from bench.sagas import check_ends
from bench.storm import busiest, check_storm, each_second
from sagakeep.state import SagaStatus

STEPS = {
    "longest_step_ms",
    "longest_step_cpu_ms",
    "longest_step_of",
    "longest_step_at",
    "p999_step_ms",
}


class Counted(Silent):
    """A bar that is only counted."""

    def __init__(self):
        self.total = self.done = 0

    def expect(self, total):
        self.total = total

    def __call__(self, count):
        self.done += count


def measured(name, sagas):
    """The numbers of a bench at a small scale; its bar ends full."""
    bar = Counted()
    numbers = trio.run(BENCHMARKS[name].measure, Scale(sagas), bar, clock=JumpingClock())
    assert bar.done == bar.total > 0
    return numbers


def test_the_engine_is_measured_by_the_floor():
    numbers = measured("engine", 100)
    assert numbers["sagas"] == 100
    assert numbers["records"] >= 3 * 100
    assert numbers["ratio"] == pytest.approx(
        numbers["sagas_per_second"] / numbers["floor_sagas_per_second"], rel=0.01
    )
    assert numbers.keys() >= STEPS


def test_http_is_measured_by_a_bare_server_and_the_floor():
    numbers = measured("http", 100)
    assert numbers["ratio"] == pytest.approx(
        numbers["posts_per_second"] / numbers["bare_posts_per_second"], rel=0.01
    )
    assert numbers["batch_ratio"] == pytest.approx(
        numbers["batch_sagas_per_second"] / numbers["floor_sagas_per_second"], rel=0.01
    )
    assert set(numbers["latency_ms"]) == {"post", "get", "list", "compensate"}
    assert all(spread["p99"] >= spread["p50"] > 0 for spread in numbers["latency_ms"].values())
    assert numbers["longest_step_ms"] > 0


def test_calls_are_measured_by_a_loop_that_makes_the_same():
    numbers = measured("calls", 100)
    assert numbers["ratio"] == pytest.approx(
        numbers["calls_per_second"] / numbers["bare_calls_per_second"], rel=0.01
    )


def test_parked_sagas_all_end_when_their_week_is_over():
    numbers = measured("parked", 100)
    assert numbers["seconds_to_finish"] < 60  # of a week
    assert numbers["bytes_per_saga"] > 0


def test_recovery_is_measured_with_a_snapshot_and_without():
    numbers = measured("recovery", 1_000)
    assert [live["sagas"] for live in numbers["live"]] == [100, 1_000]
    for part in (*numbers["live"], numbers["finished"]):
        assert part["events"] > part["sagas"]
        assert part["bare_events_per_second"] > 0


def test_growth_has_a_sample_for_each_hundredth():
    numbers = measured("growth", 1_000)
    samples = numbers["samples"]
    assert [sample["sagas"] for sample in samples] == list(range(10, 1_001, 10))
    assert samples[-1]["journal_megabytes"] > 0


def test_growth_compares_the_end_with_the_beginning():
    def sample(at):
        return Sample(at * 10_000, 100.0 - at / 2, 1.0, 2.0, 50.0 + at / 10, at * 5.0, at * 1.0)

    numbers = sum_up([sample(at) for at in range(1, 101)])
    assert numbers["resident_ratio"] == round(60 / 50.1, 3)
    assert numbers["throughput_ratio"] == round(52.25 / 97.25, 3)
    assert numbers["bytes_per_saga"] == 500.0
    assert numbers["other_bytes_per_saga"] == 100.0


def test_a_bench_raises_when_a_saga_did_not_end_as_it_must():
    with pytest.raises(AssertionError, match="failed"):
        check_ends(
            {SagaStatus.COMPLETED: 89, SagaStatus.COMPENSATED: 10, SagaStatus.FAILED: 1}, 100
        )


def test_the_command_prints_one_object_that_says_where_it_was_measured():
    command = [sys.executable, "-m", "bench", "engine", "--sagas", "100", "--json"]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, check=True)
    numbers = json.loads(done.stdout)
    assert numbers.keys() >= provenance().keys() == {"machine", "python", "commit", "date"}
    assert not done.stderr  # nobody sees a bar here


async def test_the_longest_step_is_seen_and_named():
    clock = JumpingClock().current_time
    with watched_steps() as steps:
        for _ in range(1_000):
            await trio.lowlevel.checkpoint()
        until_s = clock() + 0.03
        while clock() < until_s:
            pass
        await trio.lowlevel.checkpoint()
    numbers = steps.numbers()
    assert numbers["longest_step_ms"] >= 30
    assert numbers["longest_step_cpu_ms"] > 1  # however many others want the processor
    assert "test_the_longest_step_is_seen_and_named" in numbers["longest_step_of"]
    assert "test_the_longest_step_is_seen_and_named" in numbers["longest_step_at"]
    assert steps.percentile_s(1) == steps.longest_s
    assert steps.percentile_s(0.5) < steps.longest_s / 10


def test_a_percentile_is_a_value_that_was_measured():
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert percentile([], 0.5) == 0.0
    assert spread_ms([0.001, 0.003]) == {"p50": 2.0, "p99": 3.0}


def test_a_storm_passes_and_everything_ends():
    bar = Counted()
    scale = Scale(100, seconds=6.0)  # longer than it takes for a probe to go out
    numbers = trio.run(BENCHMARKS["storm"].measure, scale, bar, clock=JumpingClock())
    assert bar.done == bar.total == numbers["sagas"] >= 100
    assert numbers["completed"] + numbers["compensated"] == numbers["sagas"]
    assert numbers["calls_while_dead"] < 100  # the breaker
    assert sum(numbers["calls_each_second"]) == numbers["calls_while_dead"] + numbers["calls_after"]


def test_a_storm_fails_when_the_service_is_called_too_often_or_a_saga_is_missing():
    ends = {SagaStatus.COMPLETED: 90, SagaStatus.COMPENSATED: 10}
    check_storm(ends, 100, 550)
    with pytest.raises(AssertionError, match="551 calls within a second; allowed are 500"):
        check_storm(ends, 100, 551)
    with pytest.raises(AssertionError, match="of 101 sagas ended"):
        check_storm(ends, 101, 0)


def test_the_busiest_window_may_begin_anywhere():
    assert busiest([], 1.0) == 0
    assert busiest([0.0, 0.9, 1.0, 1.5, 1.95, 3.0], 1.0) == 3
    assert each_second([5.0, 5.9, 7.0], 5.0, 7.5) == [2, 0, 1]
