"""What a command line of musubi-tuner's `fpack_train_network.py` comes to (specs: FramePack 6)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reelwright.core.arguments import parse_arguments
from reelwright.core.config import from_mapping
from reelwright.core.errors import ConfigError, suggestion
from reelwright.families.framepack.config import FramePackTrain
from reelwright.families.framepack.guide_flags import check_given
from reelwright.families.framepack.train_flag_table import FLAGS, METHODS
from reelwright.protocols.guide_flags import GuideCommand, GuideRun, Values

_NAME = "fpack_train_network"
_RANK = 4
_REX_END = 0.01
_LYCORIS = {"lora": "lora", "locon": "lora", "loha": "loha", "lokr": "lokr"}
_NETWORK_ARGUMENTS = {
    "include_patterns": "include",
    "exclude_patterns": "exclude",
    "rank_dropout": "rank_dropout",
    "module_dropout": "module_dropout",
    "loraplus_lr_ratio": "up_rate",
}
"""Of every method; what each is here."""
_FOREIGN_STATE = ("random_states_0.pkl", "scheduler.bin", "optimizer.bin")
"""Files of a state that the other program writes."""


def configure(values: Values, fields: Mapping[str, Any]) -> Sequence[GuideRun]:
    """One run. Raises ConfigError."""
    _check_given(values)
    _check_state(values["resume"])
    method, adapter = _network(values)
    said: dict[str, Any] = {
        **fields,
        "model": values["model"] or ("f1" if values["f1"] else "base"),
        # Single frames are trained on either model.
        "mode": "f1" if values["f1"] and not values["one_frame"] else "auto",
        "method": method,
        "adapter": {**fields["adapter"], **adapter},
        "schedule": {**fields["schedule"], "min_rate": _last_rate(values)},
        "saving": {**fields["saving"], "layout": "native", "folder": values["output_dir"]},
        "tracking": {**fields["tracking"], "trackers": _trackers(values)},
        "execution": {
            **fields["execution"],
            "fp8": values["fp8_base"] or values["fp8"] or values["fp8_scaled"],
        },
    }
    if values["output_dir"] is not None:
        said["out"] = values["output_dir"]
    config = from_mapping(FramePackTrain, said, _NAME)
    return [GuideRun(config=config, workflow="train")]


def _check_given(values: Values) -> None:
    of_model = () if values["model"] else ("dit",)
    of_clips = ("vae", "text_encoder1", "text_encoder2", "image_encoder") if values["sample_prompts"] else ()
    of_files = () if values["show_timesteps"] else ("output_dir", "output_name")
    parts = () if values["model"] else of_clips
    check_given(
        _NAME,
        values,
        ("dataset_config", *of_model, *parts, *of_files),
        {
            "dataset_config": "Name the file of data sets.",
            "output_dir": "Name the folder for what is trained.",
            "output_name": "Say how the files in it are called.",
        },
    )


def _check_state(place: Path | None) -> None:
    if place is not None and any((place / name).exists() for name in _FOREIGN_STATE):
        raise ConfigError(
            f"{_NAME}: --resume: {place} is a state of another program, which does not say at which step"
            " it was. Start from its weights: --network_weights FILE, with --dim_from_weights."
        )


def _network(values: Values) -> tuple[str, dict[str, Any]]:
    """What learns, and the settings of the adapter that flags of their own do not set."""
    origin = f"{_NAME}: --network_args"
    arguments = parse_arguments(values["network_args"] or (), origin)
    arguments.pop("verbose", None)
    method = METHODS[values["network_module"]]
    if values["network_module"] == "lycoris.kohya":
        method = _lycoris_method(str(arguments.pop("algo", "lora")), origin)
    known = {**_NETWORK_ARGUMENTS, **({"factor": "factor"} if method == "lokr" else {})}
    _check_arguments(arguments, known, origin)
    adapter = {known[name]: _as_list(value) for name, value in arguments.items()}
    if values["network_dim"] is not None or not values["dim_from_weights"]:
        adapter["rank"] = _RANK if values["network_dim"] is None else values["network_dim"]
    if values["dim_from_weights"] and values["network_alpha"] == 1.0:
        adapter["alpha"] = 0.0  # the other program's default is nothing that was asked for
    return method, adapter


def _lycoris_method(algorithm: str, origin: str) -> str:
    if algorithm not in _LYCORIS:
        raise ConfigError(
            f"{origin}: algo: {algorithm} cannot be trained."
            f" {suggestion(algorithm, ('lora', 'loha', 'lokr'))}"
        )
    return _LYCORIS[algorithm]


def _check_arguments(arguments: Mapping[str, object], known: Mapping[str, str], origin: str) -> None:
    problems = [
        f"{origin}: {name}: "
        + (
            "the blocks have no convolutions. Leave it out."
            if name in ("conv_dim", "conv_alpha")
            else f"is no argument of this network. {suggestion(name, known)}"
        )
        for name in arguments
        if name not in known
    ]
    if problems:
        raise ConfigError("\n".join(problems))


def _as_list(value: object) -> object:
    """Patterns may be one word or a list in Python's form."""
    return [value] if isinstance(value, str) else value


def _last_rate(values: Values) -> float:
    """Where the schedule ends."""
    if values["lr_scheduler_min_lr_ratio"] is not None:
        return values["lr_scheduler_min_lr_ratio"]
    return _REX_END if values["lr_scheduler"] == "rex" else 0.0


def _trackers(values: Values) -> list[str]:
    if values["log_with"] == "all":
        return ["tensorboard", "wandb"]
    if values["log_with"] is None:
        return ["tensorboard"] if values["logging_dir"] else []
    return [values["log_with"]]


COMMANDS = {
    _NAME: GuideCommand(
        name=_NAME,
        about="Train a LoRA for FramePack, by the flags of musubi-tuner.",
        schema=FramePackTrain,
        flags=FLAGS,
        configure=configure,
        file_flag="config_file",
    )
}
