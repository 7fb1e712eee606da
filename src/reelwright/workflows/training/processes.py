"""The processes of a run: started by `accelerate launch` or torchrun, and configured as Accelerate reads it.

FSDP2 is applied here rather than by Accelerate, which leaves processors out and would round timesteps to the
format that layers compute in.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils.dataclasses import (
    DistributedDataParallelKwargs,
    DistributedType,
    FullyShardedDataParallelPlugin,
    InitProcessGroupKwargs,
)
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from reelwright.checkpoint.live_parameters import whole
from reelwright.core.errors import ConfigError
from reelwright.execution.attention import check_learning_kernel
from reelwright.execution.compiling import check_compiling
from reelwright.execution.devices import choose_device
from reelwright.execution.stacks import stacks_of
from reelwright.protocols.train_configs import LearningConfig, LearningExecutionConfig, TrainConfig

_PRECISIONS = ("no", "fp16", "bf16")


def open_accelerator(config: LearningConfig, folder: Path, trackers: Sequence[Any] = ()) -> Accelerator:
    """Meet the other processes, if there are any. `trackers`: names or trackers, as Accelerate takes them.

    Raises ConfigError for combinations that cannot be; nothing has been loaded by then.
    """
    device = _choose_own_device(config.execution.device)
    _check(config, device)
    # What another run in this process chose is no longer of interest; the others it has met, it knows.
    AcceleratorState._reset_state(  # pyright: ignore[reportPrivateUsage]
        reset_partial_state=not torch.distributed.is_initialized()
    )
    plugin = _sharding_plugin()
    accelerator = Accelerator(
        mixed_precision=_choose_precision(config.execution, device),
        cpu=device.type == "cpu",
        log_with=list(trackers) or None,
        project_dir=folder,
        fsdp_plugin=plugin,
        step_scheduler_with_optimizer=False,
        kwargs_handlers=[
            DistributedDataParallelKwargs(
                find_unused_parameters=config.may_idle, gradient_as_bucket_view=True
            ),
            *_patience(config.execution),
        ],
    )
    _choose_kernels(config.execution)
    if plugin is not None and accelerator.num_processes > 1 and device.type == "cpu":
        _allow_sharding_on_processors(accelerator, plugin)
    if config.execution.num_threads:
        torch.set_num_threads(config.execution.num_threads)
    return accelerator


def let_go(accelerator: Accelerator) -> None:
    """Let go of the networks, then of the other processes; the caller has let go of the networks already.

    In this order: a distributed network holds the group of processes too. Were it the last to do so, it would
    wait for the group's threads while it holds Python's lock, which they need to drop their last tensors.
    """
    accelerator.free_memory()
    accelerator.end_training()


def prepare_learning(
    accelerator: Accelerator, denoiser: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """The denoiser and the optimizer as they are used in training; gradients are averaged over processes.

    With FSDP, parameters become shares of themselves in the denoiser, and in the optimizer too.
    """
    if not accelerator.is_fsdp2:
        # All processes loaded the same file: what does not learn need not be sent around.
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(denoiser, _still(denoiser))
        return accelerator.prepare(denoiser, optimizer)
    _shard(accelerator, denoiser, optimizer)
    _compute_in(accelerator, denoiser)
    return denoiser, accelerator.prepare_optimizer(optimizer)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """As `Optimizer.state_dict`, with whole tensors on the processor: the same for any number of processes.

    All processes must call it, since they put together what they share out.
    """
    state = optimizer.state_dict()
    values = {index: _mapped(_on_processor, entries) for index, entries in state["state"].items()}
    return {**state, "state": values}


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Put back what `optimizer_state` gave, here or with another number of processes."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    values = {
        index: _mapped(partial(_laid_out, like=parameters[index]), entries)
        for index, entries in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": values})


def _mapped(change: Callable[[Tensor], Tensor], entries: Mapping[str, object]) -> dict[str, object]:
    return {name: change(value) if isinstance(value, Tensor) else value for name, value in entries.items()}


def _on_processor(tensor: Tensor) -> Tensor:
    return whole(tensor).detach().cpu()


def _laid_out(value: Tensor, *, like: Tensor) -> Tensor:
    """Shared out like the parameter, if that is and has the same shape; single numbers stay plain."""
    if not isinstance(like, DTensor) or value.ndim == 0:
        return value
    placements = like.placements if value.shape == like.shape else [Replicate()] * like.device_mesh.ndim
    return distribute_tensor(value.to(like.device), like.device_mesh, placements)


def _check(config: LearningConfig, device: torch.device) -> None:
    if isinstance(config, TrainConfig):
        _check_denoiser(config)
        check_compiling(config.execution, device)
        check_learning_kernel(config.execution, device)
    _check_environment()


def _check_denoiser(config: TrainConfig) -> None:
    execution = config.execution
    if execution.fp8 and config.method == "full":
        raise ConfigError(
            "execution.fp8: weights held in fp8 cannot learn, but method full trains them all. Use"
            " --method lora, or leave out --execution.fp8."
        )
    if execution.block_swap and config.method == "full":
        raise ConfigError(
            "execution.block_swap: weights that learn cannot be swapped, but method full trains them all. Use"
            " --method lora, or leave out --execution.block-swap."
        )
    if execution.block_swap and _environment_says("ACCELERATE_USE_FSDP"):
        raise ConfigError(
            "execution.block_swap: FSDP already shares out the weights of blocks. Leave out"
            " --execution.block-swap, or launch without FSDP."
        )
    if execution.activation_offload and not execution.activation_checkpoint:
        raise ConfigError(
            "execution.activation_offload: has no effect without checkpoints. Add"
            " --execution.activation-checkpoint."
        )


def _check_environment() -> None:
    for name in ("DEEPSPEED", "MEGATRON_LM"):
        if _environment_says(f"ACCELERATE_USE_{name}"):
            raise ConfigError(
                f"accelerate launch: is configured for {name}, which is not supported. Run `accelerate"
                " config` and choose one process, several GPUs, or FSDP with version 2."
            )
    if _environment_says("FSDP_ACTIVATION_CHECKPOINTING"):
        raise ConfigError(
            "accelerate launch: fsdp_activation_checkpointing is not used. Turn it off there and add"
            " --execution.activation-checkpoint here."
        )


def _patience(execution: LearningExecutionConfig) -> list[InitProcessGroupKwargs]:
    """Only what is asked for: without a time, Accelerate would choose another one than torch."""
    minutes = execution.process_timeout
    return [InitProcessGroupKwargs(timeout=timedelta(minutes=minutes))] if minutes else []


def _choose_kernels(execution: LearningExecutionConfig) -> None:
    """Only what is asked for is set: torch's own choices stay."""
    if execution.allow_tf32:
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    if execution.cudnn_benchmark:
        torch.backends.cudnn.benchmark = True


def _choose_own_device(name: str) -> torch.device:
    """That of this process. Several processes take one GPU each."""
    if name == "auto" and _environment_says("ACCELERATE_USE_CPU"):
        return torch.device("cpu")
    device = choose_device(name)
    if device.type != "cuda":
        return device
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    if num_processes == 1:
        torch.cuda.set_device(device)
    elif ":" in name:
        raise ConfigError(
            f"execution.device: {name} is one GPU, but there are {num_processes} processes, which take one"
            " each. Use auto; CUDA_VISIBLE_DEVICES says which GPUs there are."
        )
    return device


def _choose_precision(execution: LearningExecutionConfig, device: torch.device) -> str:
    chosen: str = execution.mixed_precision
    if chosen == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        chosen = os.environ.get("ACCELERATE_MIXED_PRECISION", "bf16" if has_bf16 else "no").lower()
    if chosen not in _PRECISIONS:
        raise ConfigError(
            f"accelerate launch: mixed precision {chosen!r} is not supported. Say --mixed_precision with one"
            f" of {', '.join(_PRECISIONS)}; weights can be held in fp8 with --execution.fp8."
        )
    if chosen == "fp16" and device.type == "cpu":
        raise ConfigError("execution.mixed_precision: fp16 needs a GPU. Use no or bf16 on a processor.")
    return chosen


def _sharding_plugin() -> FullyShardedDataParallelPlugin | None:
    """How parameters are to be shared out, if `accelerate config` or the environment says so."""
    if not _environment_says("ACCELERATE_USE_FSDP"):
        return None
    version = os.environ.get("FSDP_VERSION", "2")
    if version != "2":
        raise ConfigError(f"accelerate launch: FSDP version {version} is not supported. Say fsdp_version: 2.")
    return FullyShardedDataParallelPlugin(fsdp_version=2, cpu_ram_efficient_loading=False)


def _allow_sharding_on_processors(accelerator: Accelerator, plugin: FullyShardedDataParallelPlugin) -> None:
    PartialState().distributed_type = DistributedType.FSDP
    accelerator.state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = plugin


def _environment_says(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes", "on")


def _still(denoiser: nn.Module) -> list[str]:
    """Names of what does not learn."""
    frozen = [name for name, parameter in denoiser.named_parameters() if not parameter.requires_grad]
    return [*frozen, *(name for name, _ in denoiser.named_buffers())]


def _shard(accelerator: Accelerator, denoiser: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Share out each block's parameters over the processes, and those outside of blocks together."""
    places = {parameter: name for name, parameter in denoiser.named_parameters()}
    plugin = accelerator.state.fsdp_plugin
    assert plugin is not None
    blocks = [block for stack in stacks_of(denoiser) for block in stack]
    for unit in (*blocks, denoiser):
        _check_uniform(unit)
    options: dict[str, Any] = {
        "mesh": init_device_mesh(accelerator.device.type, (accelerator.num_processes,)),
        "mp_policy": _gathered_format(accelerator, denoiser),
        "offload_policy": plugin.cpu_offload,
    }
    for block in blocks:
        fully_shard(block, reshard_after_forward=plugin.reshard_after_forward, **options)
    sharded = fully_shard(denoiser, **options)
    if hasattr(sharded, "set_reduce_scatter_unused_params"):  # in torch 2.13
        # Frames of history may be missing on one process alone; its share of the sum is zero.
        sharded.set_reduce_scatter_unused_params(True)
    shares = dict(denoiser.named_parameters())
    for group in optimizer.param_groups:
        group["params"] = [shares[places[parameter]] for parameter in group["params"]]


def _gathered_format(accelerator: Accelerator, denoiser: nn.Module) -> MixedPrecisionPolicy:
    """Gradients are summed in float32, and inputs stay as exact as they are.

    Where everything learns, parameters are sent around in the format that layers compute in. Beside adapters,
    most are in it already, or in a smaller one.
    """
    formats = {"fp16": torch.float16, "bf16": torch.bfloat16}
    learns_all = all(parameter.requires_grad for parameter in denoiser.parameters())
    return MixedPrecisionPolicy(
        param_dtype=formats.get(accelerator.mixed_precision) if learns_all else None,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )


def _check_uniform(unit: nn.Module) -> None:
    formats = {str(parameter.dtype) for parameter in unit.parameters() if parameter.requires_grad}
    if len(formats) > 1:
        names = " and ".join(sorted(name.removeprefix("torch.") for name in formats))
        raise ConfigError(
            f"execution.dtype: parameters that learn are in {names}, which FSDP cannot share out together."
            " Use --execution.dtype float32; --execution.mixed-precision says in what layers compute."
        )


def _compute_in(accelerator: Accelerator, denoiser: nn.Module) -> None:
    """Let the denoiser compute in the chosen precision, wherever it is called."""
    forward: Callable[..., Tensor] = denoiser.forward

    def compute(*inputs: object, **named: object) -> Tensor:
        with accelerator.autocast():
            # FSDP hangs its work of the backward pass on the answer, where it is lost from views.
            return forward(*inputs, **named).clone()

    denoiser.forward = compute
