"""Steps that are left out: which, what stands in their place, and what a run remembers."""

import gc
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from reelwright.execution.step_cache.calibration import Calibration
from reelwright.execution.step_cache.choosing import install_step_cache
from reelwright.execution.step_cache.facts import StepCacheFacts
from reelwright.execution.step_cache.policy import StepCache
from reelwright.execution.step_cache.ratios import read_ratios
from reelwright.nn.packing import Packing
from reelwright.protocols.policy_configs import PolicyConfig

from .step_networks import AddingDenoiser, Told, calls_of, run, tokens, walk

NUM_STEPS = 24
RATIOS = tuple(np.random.default_rng(5).uniform(0.9, 1.12, 31).tolist())
POLYNOMIAL = (-3.0, 0.7, 0.4, -0.01)
FACTS = StepCacheFacts(
    signal=lambda network, video, text, signal: signal,
    polynomial=POLYNOMIAL,
    polynomial_threshold=0.1,
    ratios=RATIOS,
)
THRESHOLDS = {"magcache": 0.24, "teacache": 0.15, "first_block": 0.25}
METHODS = tuple(THRESHOLDS)


def cached(network: AddingDenoiser, method: str, **options: Any) -> StepCache:
    chosen = {"threshold": THRESHOLDS[method], "start": 0.2, "max_skips": 6, **options}
    config = PolicyConfig(step_cache=method, **{f"step_cache_{name}": each for name, each in chosen.items()})
    (policy,) = install_step_cache(network, config, lambda _: FACTS)
    assert isinstance(policy, StepCache)
    return policy


def told(method: str, signals: np.ndarray, **options: Any) -> Told:
    network = AddingDenoiser()
    policy = cached(network, method, **options)
    return run(network, policy, calls_of(signals), tokens(len(signals), seed=3))


# What the methods say, written out again in numpy: which steps are left out.


@dataclass
class Rule:
    threshold: float
    start: float
    most: int

    def in_window(self, step: int, num_steps: int) -> bool:
        return max(int(self.start * num_steps), 1) <= step < num_steps - 1

    def magcache(self, signals: np.ndarray) -> list[bool]:
        n, product, error, count, out = len(signals), 1.0, 0.0, 0, []
        for step in range(n):
            is_out = False
            if self.in_window(step, n):
                product *= RATIOS[int(np.rint(step * (len(RATIOS) - 1) / (n - 1)))]
                error += abs(1 - product)
                count += 1
                is_out = error <= self.threshold and count <= self.most
                if not is_out:
                    product, error, count = 1.0, 0.0, 0
            out.append(is_out)
        return out

    def teacache(self, signals: np.ndarray) -> list[bool]:
        n, total, count, out = len(signals), 0.0, 0, []
        for step in range(n):
            is_out = False
            if self.in_window(step, n):
                before = signals[step - 1]
                distance = np.abs(signals[step] - before).mean() / np.abs(before).mean()
                total += abs(np.polyval(POLYNOMIAL, distance))
                is_out = total < self.threshold and count < self.most
            count = count + 1 if is_out else 0
            total = total if is_out else 0.0
            out.append(is_out)
        return out

    def first_block(self, signals: np.ndarray) -> list[bool]:
        n, count, kept, out = len(signals), 0, None, []
        for step, added in enumerate(np.tanh(signals)):
            is_out = False
            if self.in_window(step, n):
                distance = np.abs(added - kept).mean() / np.abs(kept).mean()
                is_out = distance <= self.threshold and count < self.most
            count = count + 1 if is_out else 0
            kept = kept if is_out else added
            out.append(is_out)
        return out


def expected_results(method: str, signals: np.ndarray, left_out: Sequence[bool]) -> np.ndarray:
    given = tokens(len(signals), seed=3)
    first = np.tanh(signals)
    others = np.tanh(2 * signals) + np.tanh(3 * signals)
    always, kept = (first, others) if method == "first_block" else (0 * first, first + others)
    results, last = [], kept[0]
    for step, is_out in enumerate(left_out):
        last = last if is_out else kept[step]
        results.append(given[step] + always[step] + last)
    return np.stack(results)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("start", "most"), [(0.2, 6), (0.0, 2), (0.5, 100)])
@pytest.mark.parametrize("method", METHODS)
def test_steps_are_left_out_as_the_method_says_and_what_was_added_last_is_added_again(
    method: str, start: float, most: int, seed: int
):
    signals = walk(NUM_STEPS, seed)
    rule = Rule(THRESHOLDS[method], start, most)
    expected = getattr(rule, method)(signals)
    found = told(method, signals, start=start, max_skips=most)
    assert found.left_out == expected
    assert 0 < sum(expected) < NUM_STEPS
    np.testing.assert_allclose(found.results, expected_results(method, signals, expected), atol=2e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_threshold_of_0_leaves_nothing_out_even_where_nothing_changes(method: str):
    signals = np.repeat(walk(1, 0), NUM_STEPS, axis=0)
    network = AddingDenoiser()
    policy = cached(network, method, threshold=0.0)
    found = run(network, policy, calls_of(signals), tokens(NUM_STEPS, seed=3))
    assert not any(found.left_out)
    assert policy.shortcut == ""
    plain = AddingDenoiser()
    with torch.no_grad():
        for given, signal, result in zip(tokens(NUM_STEPS, seed=3), signals, found.results, strict=True):
            exact = plain(torch.from_numpy(given)[None], torch.zeros(1), torch.from_numpy(signal)[None])
            assert exact.numpy()[0].tobytes() == result.tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_branches_know_nothing_of_each_other(method: str):
    signals = {"positive": walk(NUM_STEPS, 1), "negative": walk(NUM_STEPS, 2, pace=0.05)}
    given = tokens(NUM_STEPS, seed=3)
    pairs = zip(*(calls_of(signals[branch], branch) for branch in signals), strict=True)
    network = AddingDenoiser()
    both = run(network, cached(network, method), [call for pair in pairs for call in pair], given)
    alone = {}
    for branch, own in signals.items():
        network = AddingDenoiser()
        alone[branch] = run(network, cached(network, method), calls_of(own, branch), given)
    assert both.left_out[0::2] == alone["positive"].left_out
    assert both.left_out[1::2] == alone["negative"].left_out
    assert np.array_equal(both.results[0::2], alone["positive"].results)
    assert np.array_equal(both.results[1::2], alone["negative"].results)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_knows_nothing_of_the_one_before(method: str):
    network = AddingDenoiser()
    policy = cached(network, method)
    given, first, second = tokens(NUM_STEPS, seed=3), walk(NUM_STEPS, 1), walk(NUM_STEPS, 2)
    run(network, policy, calls_of(first)[: NUM_STEPS // 2], given)  # and it was stopped in the middle
    after = run(network, policy, calls_of(second), given)
    alone = told(method, second)
    assert after.left_out == alone.left_out
    assert np.array_equal(after.results, alone.results)


@pytest.mark.parametrize("method", METHODS)
def test_a_branch_that_was_not_asked_in_the_step_before_is_computed(method: str):
    signals = np.repeat(walk(1, 0), NUM_STEPS, axis=0) * np.linspace(1, 1.0001, NUM_STEPS)[:, None]
    calls = calls_of(signals.astype(np.float32))
    network = AddingDenoiser()
    policy = cached(network, method, threshold=1e9, start=0.0, max_skips=100)
    found = run(network, policy, [*calls[:8], *calls[11:]], tokens(NUM_STEPS, seed=3))
    expected = [False, *[True] * 7, False, *[True] * (NUM_STEPS - 13), False]
    assert found.left_out == expected


def test_the_first_block_runs_once_in_each_step_and_the_others_when_they_must():
    network = AddingDenoiser()
    policy = cached(network, "first_block")
    found = run(network, policy, calls_of(walk(NUM_STEPS, 1)), tokens(NUM_STEPS, seed=3))
    num_computed = NUM_STEPS - sum(found.left_out)
    assert network.num_runs == [NUM_STEPS, num_computed, num_computed]
    assert policy.shortcut == f"first_block 0.25: {NUM_STEPS - num_computed} of {NUM_STEPS} steps left out"


@pytest.mark.parametrize("method", ["magcache", "teacache"])
def test_no_block_runs_in_a_step_that_is_left_out(method: str):
    network = AddingDenoiser()
    found = run(network, cached(network, method), calls_of(walk(NUM_STEPS, 1)), tokens(NUM_STEPS, seed=3))
    assert network.num_runs == [NUM_STEPS - sum(found.left_out)] * 3


def test_passes_are_counted_where_a_step_has_two():
    network = AddingDenoiser()
    policy = cached(network, "magcache", threshold=1e9)
    assert policy.shortcut == "magcache 1e+09"
    pairs = zip(calls_of(walk(10, 1)), calls_of(walk(10, 2), "negative"), strict=True)
    run(network, policy, [call for pair in pairs for call in pair], tokens(10, seed=3))
    # The steps 2 to 7, then one that is computed since six in a row are left out, and the last.
    assert policy.shortcut == "magcache 1e+09: 12 of 20 passes left out"


def test_a_network_is_whole_again_after_an_error_in_a_later_block():
    network = AddingDenoiser()
    policy = cached(network, "first_block")
    names, blocks = list(network.state_dict()), list(network.blocks)
    network.blocks[1].forward = _fail
    with pytest.raises(RuntimeError, match="in the middle"):
        run(network, policy, calls_of(walk(NUM_STEPS, 1)), tokens(NUM_STEPS, seed=3))
    assert (list(network.state_dict()), list(network.blocks)) == (names, blocks)


def _fail(*_: object) -> None:
    raise RuntimeError("in the middle")


@pytest.mark.parametrize("method", METHODS)
def test_a_network_is_gone_when_its_owner_lets_it_go(method: str):
    network = AddingDenoiser()
    policy = cached(network, method)
    run(network, policy, calls_of(walk(NUM_STEPS, 1)), tokens(NUM_STEPS, seed=3))
    gone = weakref.ref(network)
    gc.disable()
    try:
        del network
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("install", [lambda network: cached(network, "magcache"), Calibration])
def test_packed_clips_and_calls_that_tell_no_step_are_refused(install: Callable[[AddingDenoiser], Any]):
    network = AddingDenoiser()
    policy = install(network)
    video, text, signal = torch.zeros(1, 3, 5), torch.zeros(1, 1, 5), torch.zeros(1, 5)
    with pytest.raises(ValueError, match="which step"):
        network.trunk(video, text, signal)
    policy.start(calls := calls_of(walk(2, 0)))
    policy.enter(calls[0])
    with pytest.raises(ValueError, match="packed"):
        network.trunk(video, text, signal, Packing.of([text], [video]))


def test_nothing_is_put_around_a_network_without_a_step_cache():
    network = AddingDenoiser()
    assert install_step_cache(network, PolicyConfig(), lambda _: FACTS) == []
    assert "trunk" not in vars(network)


# Calibration.


def lengths_of(signals: np.ndarray) -> np.ndarray:
    """Of what the three blocks add to a token, [steps]: all tokens get the same."""
    return np.linalg.norm(sum(np.tanh(factor * signals) for factor in (1, 2, 3)), axis=-1)


def test_a_calibration_measures_how_lengths_grow_in_each_branch_and_changes_nothing(tmp_path):
    signals = {"positive": walk(NUM_STEPS, 1), "negative": walk(NUM_STEPS, 2)}
    given = tokens(NUM_STEPS, seed=3)
    network, path = AddingDenoiser(), tmp_path / "ratios.json"
    policy = Calibration(network, path)
    pairs = zip(*(calls_of(signals[branch], branch) for branch in signals), strict=True)
    found = run(network, policy, [call for pair in pairs for call in pair], given)
    assert not any(found.left_out)
    assert policy.shortcut == ""
    ratios = read_ratios(path)
    for branch, measured in (("positive", ratios.positive), ("negative", ratios.negative)):
        lengths = lengths_of(signals[branch])
        np.testing.assert_allclose(measured, [1.0, *(lengths[1:] / lengths[:-1])], atol=2e-6)


def test_a_calibration_takes_a_batch_of_both_prompts_apart_and_averages_runs(tmp_path):
    signals = walk(NUM_STEPS, 1), walk(NUM_STEPS, 2)
    network = AddingDenoiser()
    policy = Calibration(network, tmp_path / "ratios.json")
    for each in signals:
        run(network, policy, calls_of(each, "both"), tokens(NUM_STEPS, seed=3))
    run(network, policy, calls_of(walk(5, 3), "both"), tokens(5, seed=3))  # another number of steps
    ratios = read_ratios(tmp_path / "ratios.json")
    lengths = np.stack([lengths_of(each) for each in signals])
    expected = [1.0, *(lengths[:, 1:] / lengths[:, :-1]).mean(0)]
    np.testing.assert_allclose(ratios.positive, expected, atol=2e-6)
    np.testing.assert_allclose(ratios.negative, expected, atol=2e-6)


def test_a_run_that_was_stopped_is_not_measured(tmp_path):
    network = AddingDenoiser()
    policy = Calibration(network, tmp_path / "ratios.json")
    calls = calls_of(walk(NUM_STEPS, 1))
    policy.start(calls)
    policy.enter(calls[0])
    with torch.no_grad():
        network(torch.zeros(1, 3, 5), torch.zeros(1), torch.from_numpy(walk(1, 1)))
    assert not (tmp_path / "ratios.json").exists()
    with pytest.raises(ValueError, match="no run"):
        policy.write_ratios(tmp_path / "ratios.json")
