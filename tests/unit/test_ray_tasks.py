"""Ray where it is missing or unreachable, and what of it a task takes; runs with it are integration tests."""

import signal
from types import SimpleNamespace

import pytest

from reelwright.core.errors import ConfigError, FileError, UserError
from reelwright.protocols.cache_configs import CacheConfig
from reelwright.protocols.configs import ExecutionConfig
from reelwright.workflows.caching import ray_tasks
from reelwright.workflows.caching.executors import run_orders


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What stands for Ray; its machines are set by the test."""
    ray = SimpleNamespace(
        machines=[], is_initialized=lambda: False, init=lambda *_, **named: None, shutdown=lambda: None
    )
    ray.nodes = lambda: [{"Alive": True, "Resources": machine} for machine in ray.machines]
    ray.cluster_resources = lambda: {
        kind: sum(machine.get(kind, 0) for machine in ray.machines) for kind in ("CPU", "GPU")
    }
    monkeypatch.setattr(ray_tasks, "import_module", lambda _: ray)
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_DEDUP_LOGS_SKIP_REGEX", "RAY_NUM_REDIS_GET_RETRIES"):
        monkeypatch.setenv(name, "")
    return ray


def test_without_ray_the_error_says_how_to_get_it(monkeypatch):
    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr(ray_tasks, "import_module", refuse)
    with pytest.raises(ConfigError, match=r"pip install 'reelwright\[cluster\]'"):
        list(run_orders([], CacheConfig(executor="ray")))


def test_a_cluster_that_is_not_there_is_an_error_that_names_it(cluster):
    def refuse(*_, **named):
        raise ConnectionError(f"no answer from {named['address']}")

    cluster.init = refuse
    with pytest.raises(ConfigError, match="ray_address: far:1 cannot be used: no answer from far:1"):
        list(run_orders([], CacheConfig(executor="ray", ray_address="far:1")))


def test_signals_stay_with_the_job(cluster):
    cluster.machines = [{"CPU": 2.0}]
    before = signal.getsignal(signal.SIGTERM)
    cluster.init = lambda *_, **named: signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cluster.remote = lambda **_: lambda task: task
    try:
        assert list(run_orders([], CacheConfig(executor="ray"))) == []
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("machines", "values", "share", "at_a_time"),
    [
        ([{"CPU": 8.0}], {}, (8, 0), 1),
        ([{"CPU": 8.0}], {"processes": 2}, (4, 0), 2),
        ([{"CPU": 2.0}], {"processes": 5}, (1, 0), 2),
        ([{"CPU": 8.0}, {"CPU": 4.0}], {}, (4, 0), 3),
        ([{"CPU": 16.0, "GPU": 4.0}], {}, (4, 1), 4),
        ([{"CPU": 16.0, "GPU": 2.0}, {"CPU": 16.0, "GPU": 2.0}], {}, (8, 1), 4),
        ([{"CPU": 16.0, "GPU": 2.0}], {"execution": ExecutionConfig(device="cpu")}, (16, 0), 1),
    ],
)
def test_a_task_takes_its_share_of_a_machine(machines, values, share, at_a_time, cluster):
    cluster.machines = machines
    taken = ray_tasks._share_of_task(cluster, CacheConfig(executor="ray", **values))
    assert (taken.cpus, taken.gpus) == share
    assert taken.number_in(cluster) == at_a_time


def test_errors_of_a_task_are_those_of_the_work():
    own = ray_tasks._raised_in_task(FileError("model: is missing."))
    assert isinstance(own, FileError)
    other = ray_tasks._raised_in_task(KeyError("weights"))
    assert not isinstance(other, UserError)
    assert str(other) == "A worker failed: KeyError: 'weights'"
