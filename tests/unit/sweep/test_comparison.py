"""The statistics of a sweep, against scipy and against cases counted by hand."""

import numpy as np
import pytest
from scipy import stats

from train.sweep.comparison import SettingResult, compare, holm, paired_p_value
from train.sweep.heads import Setting


@pytest.mark.parametrize(("only_one", "only_other"), [(9, 2), (30, 12), (5, 5), (0, 1), (700, 600)])
def test_with_one_seed_the_p_value_is_mcnemars_exact_one(only_one, only_other):
    differences = np.array([1] * only_one + [-1] * only_other + [0] * 40)

    expected = stats.binomtest(only_one, only_one + only_other).pvalue

    assert paired_p_value(differences) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_with_several_seeds_the_p_value_is_scipys_sign_flip_test(seed):
    differences = np.random.default_rng(seed).integers(-3, 4, 12)

    def total(sample, axis):
        return sample.sum(axis=axis)

    expected = stats.permutation_test(
        (differences,), total, permutation_type="samples", n_resamples=np.inf, vectorized=True
    ).pvalue

    assert paired_p_value(differences) == pytest.approx(expected, rel=1e-9)


def test_settings_with_the_same_answers_have_a_p_value_of_one():
    assert paired_p_value(np.zeros(30, np.int64)) == 1.0


def test_the_p_value_keeps_its_level_where_nothing_differs():
    random = np.random.default_rng(7)
    p_values = [paired_p_value(random.integers(-3, 4, 60)) for _ in range(1000)]

    rejected = sum(p <= 0.05 for p in p_values)

    # 1,000 draws of 5 %: 50 expected, 4 standard deviations are 28.
    assert 22 <= rejected <= 78


def test_holm_corrects_a_worked_example():
    # 4 p-values: 0.005 x 4, 0.01 x 3, 0.03 x 2, then 0.04 x 1 which may not fall below the last.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_never_exceeds_one():
    assert holm([0.9, 0.6, 1.0]) == [1.0, 1.0, 1.0]


def result(
    right, *, inner=0, dropout=0.0, lr=1e-3, parameters=10, losses=(0.5,), train=(0.9,)
) -> SettingResult:
    seeds = np.atleast_2d(np.asarray(right, bool))
    return SettingResult(Setting(lr, inner, dropout), parameters, seeds, losses, train)


def first(count: int, photos: int = 100) -> list[bool]:
    """Right about the first `count` photos."""
    return [photo < count for photo in range(photos)]


def test_a_clear_lead_is_a_significant_winner():
    found = compare([result(first(50)), result(first(90)), result(first(60))], 0.05)

    assert found["best"] == 1
    assert found["significant_winner"]
    assert found["tied_with_best"] == [1]
    assert found["recommended"] == 1


def test_of_tied_settings_the_simplest_is_recommended():
    results = [
        result(first(20), parameters=5),  # simplest of all, but far behind
        result(first(88), parameters=10, dropout=0.5),
        result(first(87), parameters=10, dropout=0.0, lr=1e-4),
        result(first(88), parameters=10, dropout=0.0, lr=1e-2),
        result(first(89), parameters=99),
    ]

    found = compare(results, 0.05)

    assert found["best"] == 4
    assert not found["significant_winner"]
    assert found["tied_with_best"] == [1, 2, 3, 4]
    assert found["recommended"] == 3
    assert [row["tied"] for row in found["settings"]] == [False, True, True, True, True]


def test_a_difference_may_be_significant_alone_but_not_among_forty():
    best, worse = result(first(90)), result(first(83))
    # 7 photos against none: 2 / 2^7 = 0.0156 by itself.
    others = [result(first(90), lr=lr) for lr in np.linspace(0.1, 1, 39)]

    alone = compare([best, worse], 0.05)["settings"][1]
    among_forty = compare([best, worse, *others], 0.05)["settings"][1]

    assert alone["p_value"] == pytest.approx(2 / 2**7)
    assert not alone["tied"]
    assert among_forty["p_value_holm"] == pytest.approx(40 * 2 / 2**7)
    assert among_forty["tied"]


def test_a_setting_has_mean_spread_and_gap_of_its_seeds():
    seeds = result([first(80), first(90)], losses=(0.5, 0.7), train=(0.95, 0.97))

    (row,) = compare([seeds], 0.05)["settings"]

    assert row["accuracy"] == pytest.approx(0.85)
    assert row["accuracy_of_seeds"] == pytest.approx([0.8, 0.9])
    assert row["accuracy_sd"] == pytest.approx(np.sqrt(0.005))
    assert row["gap"] == pytest.approx(0.96 - 0.85)
    assert row["loss"] == pytest.approx(0.6)


def test_the_interval_counts_photos_not_photos_times_seeds():
    three_seeds = result([first(85)] * 3, losses=(0.5,) * 3, train=(0.9,) * 3)

    (row,) = compare([three_seeds], 0.05)["settings"]

    expected = stats.binomtest(85, 100).proportion_ci(method="wilson")
    assert row["accuracy_interval_95"] == pytest.approx([expected.low, expected.high], abs=1e-6)


def test_one_setting_alone_is_no_winner():
    assert not compare([result(first(90))], 0.05)["significant_winner"]


def test_a_diverged_seed_leaves_the_setting_without_a_loss():
    diverged = result([first(80), first(10)], losses=(0.5, float("nan")), train=(0.9, 0.1))

    assert compare([diverged], 0.05)["settings"][0]["loss"] is None
