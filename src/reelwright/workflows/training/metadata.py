"""What files of adapters say of how they were trained, under the names that kohya's trainers gave it.

Others are of the model specification that model sites read. Nothing depends on when or how often a run was
stopped, or on the minute it began: the start is told to the day, the end is not told, and the session is
named after what it trains. So the same training gives the same bytes.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import PurePath, PureWindowsPath
from typing import Any

from reelwright.core.config import to_mapping
from reelwright.protocols.train_configs import AdapterConfig, TrainConfig
from reelwright.workflows.training.setting import DenoiserSetting, Moment, Setting

# Kept when the user wants no metadata: programs find their way by them.
_KEPT = (
    *("ss_base_model_version", "ss_network_module", "ss_network_dim", "ss_network_alpha"),
    *("ss_network_args", "modelspec."),
)
# Of what a family tells, what only says how it was trained; whatever else it tells is there to be used.
_HOW = (
    *("ss_weighting_scheme", "ss_logit_mean", "ss_logit_std", "ss_mode_scale", "ss_guidance_scale"),
    *(
        "ss_timestep_sampling",
        "ss_sigmoid_scale",
        "ss_discrete_flow_shift",
        "ss_sd_model_name",
        "ss_vae_name",
    ),
)
_TOLD_BY_USER = ("author", "description", "license", "tags")


def start_day() -> date:
    """Today in UTC, or the day of SOURCE_DATE_EPOCH, where the environment asks for the bytes of that day."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(seconds) if seconds.isdecimal() else time.time(), UTC).date()


def training_metadata(setting: Setting, moment: Moment, started: date) -> dict[str, str]:
    """Of an adapter as it is at a moment; empty for other methods. What the family tells goes before."""
    if not isinstance(setting, DenoiserSetting) or setting.config.method == "full":
        return {}
    config = setting.config
    family = dict(setting.model.metadata)
    everything = {
        **_run(setting, moment, started),
        **_course(setting, moment),
        **_network(config),
        **_specification(setting, started),
        **family,
    }
    if config.saving.metadata:
        return everything
    used = family.keys() - set(_HOW)
    return {key: text for key, text in everything.items() if key in used or key.startswith(_KEPT)}


def _run(setting: DenoiserSetting, moment: Moment, started: date) -> dict[str, str]:
    """What was trained, on what."""
    config, facts = setting.config, setting.facts
    told = {
        "session_id": _session(setting),
        "training_started_at": datetime(started.year, started.month, started.day, tzinfo=UTC).timestamp(),
        "output_name": config.name,
        "sd_model_name": (config.dit or PurePath(config.model)).name,
        "vae_name": config.vae and config.vae.name,
        "num_train_items": facts["num_items"],
        "num_batches_per_epoch": facts["num_batches"],
        "datasets": json.dumps(_without_folders(facts["datasets"]), ensure_ascii=False),
        "seed": config.seed,
        "training_comment": config.saving.comment,
        "num_epochs": moment.num_epochs,
        "epoch": moment.epoch,
        "max_train_steps": moment.num_steps,
        "steps": moment.step,
    }
    return _named(told)


def _course(setting: DenoiserSetting, moment: Moment) -> dict[str, str]:
    """How it was trained."""
    config = setting.config
    optimizer, schedule, execution = config.optimizer, config.schedule, config.execution
    warmup = schedule.warmup * moment.num_steps if schedule.warmup < 1 else schedule.warmup
    told = {
        "learning_rate": optimizer.learning_rate,
        "optimizer": f"{optimizer.name}({','.join(optimizer.arguments)})",
        "max_grad_norm": optimizer.max_grad_norm,
        "lr_scheduler": schedule.path or schedule.name,
        "lr_warmup_steps": int(warmup),
        "gradient_accumulation_steps": config.accumulation,
        "gradient_checkpointing": execution.activation_checkpoint,
        "gradient_checkpointing_cpu_offload": execution.activation_offload,
        "mixed_precision": setting.accelerator.mixed_precision,
        "fp8_base": execution.fp8,
        "full_fp16": False,
        "full_bf16": False,
    }
    return _named(told)


def _network(config: TrainConfig) -> dict[str, str]:
    adapter = config.adapter
    told = {
        "network_module": f"networks.{config.method}",
        "network_dropout": adapter.dropout,
        "network_args": json.dumps(_network_arguments(adapter), ensure_ascii=False),
    }
    if not adapter.rank_from_weights:
        told |= {"network_dim": adapter.rank, "network_alpha": f"{adapter.alpha or adapter.rank:g}"}
    return _named(told)


def _network_arguments(adapter: AdapterConfig) -> dict[str, str]:
    """As they are called on kohya's command line, those that differ from their defaults."""
    names = {
        "include": "include_patterns",
        "exclude": "exclude_patterns",
        "rank_dropout": "rank_dropout",
        "module_dropout": "module_dropout",
        "up_rate": "loraplus_lr_ratio",
        "factor": "factor",
        "targets": "targets",
        "rank_pattern": "rank_pattern",
        "alpha_pattern": "alpha_pattern",
    }
    changed = to_mapping(adapter, only_changed=True)
    return {name: str(changed[key]) for key, name in names.items() if key in changed}


def _specification(setting: DenoiserSetting, started: date) -> dict[str, str]:
    """As model sites read it: https://github.com/Stability-AI/ModelSpec."""
    config = setting.config
    told: dict[str, str] = {
        "sai_model_spec": "1.0.0",
        "architecture": f"{setting.family.name}/{config.method}",
        "title": config.saving.title or config.name,
        "date": started.isoformat(),
        "resolution": _resolution(setting.facts["datasets"]),
        **{key: getattr(config.saving, key) for key in _TOLD_BY_USER},
    }
    return {f"modelspec.{key}": text for key, text in told.items() if text}


def _resolution(datasets: Sequence[Mapping[str, Any]]) -> str:
    """Width x height of the largest pictures; empty where the data sets tell none."""
    sizes = [dataset["resolution"] for dataset in datasets if dataset.get("resolution")]
    largest = max(sizes, key=lambda size: size[0] * size[1], default=())
    return "x".join(str(side) for side in largest)


def _session(setting: DenoiserSetting) -> int:
    """32 bits that are the same whenever the same is trained from the same seed."""
    config = to_mapping(setting.config)
    what = {
        key: config[key] for key in ("seed", "method", "adapter", "optimizer", "schedule", "accumulation")
    }
    text = json.dumps([what, dict(setting.model.fingerprints)], sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _without_folders(value: Any) -> Any:  # noqa: ANN401
    """Nested data in which paths are but their last part: files are passed on, and folders are private."""
    if isinstance(value, Mapping):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(each) for each in value]
    return PureWindowsPath(value).name or value if isinstance(value, str) else value


def _named(told: Mapping[str, object]) -> dict[str, str]:
    return {f"ss_{key}": str(value) for key, value in told.items() if value is not None}
