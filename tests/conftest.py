"""What all tests share: tiers by folder, no network, one thread for each test process."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import settings

# Before torch is imported anywhere: its threads are fixed at import. Two test processes share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

TIERS = {
    "unit": "pure functions, seconds in all",
    "parity": "our networks against the reference implementations",
    "integration": "the tiny models from the command line to the file",
    "e2e": "real front ends",
}


def pytest_configure(config: pytest.Config):
    for name, meaning in TIERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def pytest_collection_modifyitems(items: list[pytest.Item]):
    """A test's tier is its folder, so that `pytest -m unit` works without a mark on each test."""
    for item in items:
        tier = Path(item.path).relative_to(Path(__file__).parent).parts[0]
        if tier in TIERS:
            item.add_marker(tier)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter):
    """What was not tried for want of a browser or of ComfyUI is said aloud, however quiet pytest is."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2] for report in skipped if report.nodeid.startswith("tests/e2e/"))
    for reason, count in reasons.items():
        terminalreporter.write_line(f"NOT TRIED: {count} tests. {reason}", red=True, bold=True)


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("REELWRIGHT_CACHE", str(tmp_path / "reelwright-cache"))


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's smallest model, written once: sizes and weights that no training changes."""
    root = tmp_path_factory.mktemp("small-models")
    more = {"framepack": {"direction": "both"}}

    def write(family: str) -> Path:
        folder = root / f"{family}-tiny"
        if not folder.exists():
            # Not before a test asks for it: this file is read by those that must not meet torch.
            import_module(f"reelwright.families.{family}.tiny").write_model(folder, **more.get(family, {}))
        return folder

    return write


@pytest.fixture(scope="module")
def small_tiny(small_model: Callable[[str], Path]) -> Iterator[None]:
    """`tiny` is the smallest model for the tests of a module, in this process: what they measure stays so."""
    (assets,) = {small_model(family).parent for family in ("cogvideox", "framepack")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("reelwright.protocols.model_folder"), "ASSETS", assets)
        yield


# Property tests judge results, never seconds: other tests share the processor.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
