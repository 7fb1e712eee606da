"""What TensorBoard and Weights & Biases are told of a run, and what they are not."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate.tracking import GeneralTracker
from PIL import Image

from reelwright.core.errors import ConfigError
from reelwright.protocols.train_configs import HubConfig, OptimizerConfig, TrackingConfig, TrainConfig
from reelwright.workflows.training import trackers
from reelwright.workflows.training.metrics import Metrics
from reelwright.workflows.training.setting import Setting
from reelwright.workflows.training.trackers import check_trackers, open_trackers, start_trackers, track_clip

from .training_runs import moment, open_run, result


class Remembering(GeneralTracker):
    """A tracker that keeps what it is told."""

    name = "remembering"
    requires_logging_directory = False

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, Any, int | None]] = []

    @property
    def tracker(self) -> list[tuple[str, Any, int | None]]:
        return self.told

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.told.append(("config", values, None))

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self.told.append(("values", values, step))

    def log_images(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self.told.append(("images", {name: image.shape for name, image in values.items()}, step))


def start(folder: Path, config: TrainConfig, *others: GeneralTracker, step: int = 0) -> Setting:
    setting = open_run(folder, config, [*open_trackers(config, folder), *others])
    start_trackers(setting.accelerator, config, step)
    return setting


def sheet(folder: Path) -> str:
    path = folder / "sheet.png"
    Image.new("RGB", (40, 30), (200, 10, 10)).save(path)
    return str(path)


def test_trackers_are_told_what_is_measured_and_shown(tmp_path: Path):
    tracker = Remembering()
    setting = start(tmp_path, TrainConfig(), tracker)
    list(Metrics(setting)(moment(1, result(0.5))))
    track_clip(setting.accelerator, "samples/a", {"contact_sheet": sheet(tmp_path), "video": "a.mp4"}, 1)
    (_, values, step), (kind, shapes, _) = tracker.told
    assert (values["loss"], values["rate"], step) == (0.5, 1e-4, 1)
    assert (kind, shapes) == ("images", {"samples/a": (1, 30, 40, 3)})


def test_the_configuration_is_told_without_paths_and_secrets(tmp_path: Path):
    tracker = Remembering()
    config = TrainConfig(
        model=str(tmp_path),
        dataset=Path("private/data.toml"),
        optimizer=OptimizerConfig(arguments=("weight_decay=0.01", "betas=(0.9,0.99)")),
        tracking=TrackingConfig(
            trackers=("tensorboard",), log_config=True, folder=tmp_path / "logs", wandb_key=""
        ),
        hub=HubConfig(token="hf_secret", repository="owner/name"),
    )
    start(tmp_path, config, tracker)
    ((_, told, _),) = tracker.told
    assert told["optimizer.learning_rate"] == 1e-4
    assert told["optimizer.arguments"] == "weight_decay=0.01, betas=(0.9,0.99)"
    assert told["hub.repository"] == "owner/name"
    said = " ".join(map(str, told.values()))
    assert "hf_secret" not in said
    assert str(tmp_path) not in said
    assert "private" not in said
    assert not {"model", "dataset", "hub.token", "tracking.wandb_key", "tracking.folder"} & told.keys()


def read_scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(each.step, round(each.value, 4)) for each in events.Scalars(name)]


def test_tensorboard_reads_back_what_was_measured_also_of_a_run_that_went_on(tmp_path: Path):
    tracking = TrackingConfig(trackers=("tensorboard",), prefix="fox-")
    config = TrainConfig(tracking=tracking)
    folder = tmp_path / "run"
    folder.mkdir()
    setting = start(folder, config)
    metrics = Metrics(setting)
    for step in (1, 2, 3):
        list(metrics(moment(step, result(1 / step))))
    track_clip(setting.accelerator, "samples/a", {"contact_sheet": sheet(tmp_path)}, 3)
    setting.accelerator.end_training()
    logs = folder / "logs" / "fox-run"
    assert read_scalars(logs, "loss") == [(1, 1.0), (2, 0.5), (3, 0.3333)]
    resumed = start(folder, config, step=2)
    list(Metrics(resumed)(moment(3, result(0.25))))
    resumed.accelerator.end_training()
    assert read_scalars(logs, "loss") == [(1, 1.0), (2, 0.5), (3, 0.25)]


def test_wandb_is_told_where_to_go_on_and_gets_the_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[tuple[str, Any]] = []
    run = SimpleNamespace(
        log=lambda values, step: calls.append(("log", values)), finish=lambda: calls.append(("finish", None))
    )

    def init(**arguments: Any) -> SimpleNamespace:
        calls.append(("init", arguments))
        return run

    module = SimpleNamespace(
        init=init,
        login=lambda key: calls.append(("login", key)),
        Video=lambda path, format: ("video", path, format),
        Image=lambda image: ("image", image.shape),
        __spec__=SimpleNamespace(),
    )
    monkeypatch.setitem(sys.modules, "wandb", module)  # type: ignore[arg-type]
    arguments = tmp_path / "trackers.toml"
    arguments.write_text('[wandb]\ntags = ["fox"]\n[tensorboard]\nflush_secs = 1\n')
    tracking = TrackingConfig(
        trackers=("wandb",), project="foxes", run_name="first", wandb_key="secret", arguments=arguments
    )
    config = TrainConfig(tracking=tracking)
    setting = start(tmp_path, config)
    files = {"contact_sheet": sheet(tmp_path), "video": "a.mp4"}
    track_clip(setting.accelerator, "samples/a", files, 5)
    setting.accelerator.end_training()
    (_, key), (_, first), (_, image), (_, video), (last, _) = calls
    assert key == "secret"
    assert (first["project"], first["name"], first["tags"], first["resume"]) == (
        "foxes",
        "first",
        ["fox"],
        "allow",
    )
    assert image == {"samples/a": [("image", (30, 40, 3))]}
    assert video == {"samples/a/clip": ("video", "a.mp4", "mp4")}
    assert last == "finish"
    calls.clear()
    start(tmp_path, config)
    assert calls[1][1]["id"] == first["id"]
    other = tmp_path / "other"
    calls.clear()
    start(other, config)
    assert calls[1][1]["id"] != first["id"]


def test_what_is_not_installed_is_told_with_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    with pytest.raises(ConfigError) as caught:
        check_trackers(TrackingConfig(trackers=("tensorboard", "wandb")))
    assert str(caught.value).splitlines() == [
        "tracking.trackers: tensorboard is not installed. Run: pip install 'reelwright[train]'",
        "tracking.trackers: wandb is not installed. Run: pip install 'reelwright[wandb]'",
    ]


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        ({"prefix": "a"}, "tensorboard"),
        ({"folder": Path("a")}, "tensorboard"),
        ({"run_name": "a"}, "wandb"),
        ({"wandb_key": "a"}, "wandb"),
        ({"log_config": True}, "NAME"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_settings_that_no_tracker_heeds_are_refused(given: dict[str, Any], needed: str):
    with pytest.raises(ConfigError, match=f"without --tracking.trackers {needed}"):
        check_trackers(TrackingConfig(**given))


@pytest.mark.parametrize(
    ("text", "words"),
    [("[wandbb]\na = 1", "wandbb: is no tracker. Did you mean wandb?"), ("wandb = 1", "wandb: is no table")],
    ids=["unknown", "no table"],
)
def test_arguments_that_no_tracker_takes_are_refused(tmp_path: Path, text: str, words: str):
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        check_trackers(TrackingConfig(trackers=("tensorboard",), arguments=path))
    assert words in str(caught.value)
