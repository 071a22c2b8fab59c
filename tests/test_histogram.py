from __future__ import annotations

import pytest

from sagakeep.runtime.histogram import SECONDS, Histogram


def test_a_bound_belongs_to_its_own_bucket_and_the_rest_to_the_last():
    histogram = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.1, 99.0):
        histogram.note(value)
    assert histogram.counts == [2, 2, 2]
    assert (histogram.count, histogram.sum) == (6, pytest.approx(105.6))
    assert histogram.buckets() == [("1.0", 2.0), ("2.0", 4.0), ("+Inf", 6.0)]


def test_a_quantile_is_the_bound_of_its_bucket():
    histogram = Histogram((1.0, 2.0, 4.0))
    assert histogram.quantile(0.95) == 0.0, "of nothing"
    for value in [0.5] * 90 + [1.5] * 5 + [100.0] * 5:
        histogram.note(value)
    assert [histogram.quantile(share) for share in (0.5, 0.9, 0.95, 1.0)] == [1.0, 1.0, 2.0, 4.0]


def test_what_happened_since_is_the_difference():
    histogram = Histogram((1.0,))
    histogram.note(0.5)
    before = tuple(histogram.counts)
    histogram.note(3.0)
    assert histogram.since(before).counts == [0, 1]
    assert histogram.counts == [1, 1], "and what there was stays"


def test_the_bounds_rise():
    assert list(SECONDS) == sorted(set(SECONDS))
