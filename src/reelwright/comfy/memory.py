"""Models in use beside those of ComfyUI: its manager of memory knows of them, and may let go of them."""

import gc
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch

from reelwright.comfy import host


class VideoModel:
    """What the manager holds on to and names in its log; it stays when the session leaves.

    If it went too, the manager would hear of it while it is going through its list, and trip over that.
    """


class ManagedSession:
    """A session as ComfyUI's manager sees a model: something on a device that can be told to leave.

    It is all or nothing: a part of it cannot leave. Attributes are those that the manager asks for.
    """

    parent = None

    def __init__(self, device: torch.device, let_go: Callable[["ManagedSession"], None]) -> None:
        """`let_go` is told to drop the session; it keeps this object until the next one comes."""
        self.model = VideoModel()
        self.load_device = device
        self.offload_device = torch.device("cpu")
        self._let_go = let_go
        self._before = _allocated(device)

    def loaded_size(self) -> int:
        """Bytes that the device holds since the session was opened; of a processor nobody counts them."""
        return max(_allocated(self.load_device) - self._before, 0)

    def model_size(self) -> int:
        return self.loaded_size()

    def current_loaded_device(self) -> torch.device:
        return self.load_device

    def model_dtype(self) -> None:
        """Its networks have number formats of their own."""

    def model_patches_to(self, where: object) -> None:
        """There are no patches: LoRAs are the session's own matter."""

    def model_patches_models(self) -> list[Any]:
        return []

    def is_clone(self, other: object) -> bool:
        return other is self

    def is_dynamic(self) -> bool:
        return False

    def lowvram_patch_counter(self) -> int:
        return 0

    def partially_load(self, device: torch.device, extra_memory: float = 0, **_: object) -> int:
        """Networks are loaded when they are first needed."""
        return 0

    def partially_unload(self, device: torch.device, memory_to_free: float = 0, **_: object) -> int:
        return 0

    def detach(self, unpatch_all: bool = True) -> object:
        """Let go of everything, unless the manager only lists the model anew."""
        if unpatch_all:
            self._let_go(self)
            gc.collect()
        return self.model


def make_room(device: torch.device, keep: ManagedSession | None) -> None:
    """Have all other models leave a GPU, before one comes that needs most of it.

    Memory of a processor is the system's matter.
    """
    if device.type == "cpu":
        return
    manager = import_module("comfy.model_management")
    kept = [each for each in manager.current_loaded_models if keep is not None and each.model is keep]
    manager.free_memory(1e30, device, keep_loaded=kept)


def announce(managed: ManagedSession) -> None:
    """Have ComfyUI's manager know of a model in use, so that `Free memory` and other models can move it."""
    manager = import_module("comfy.model_management")
    try:
        manager.load_models_gpu([managed])
    except (AttributeError, TypeError) as error:  # a manager that wants to know more of a model than this
        host.tell(f"This ComfyUI cannot be told of models in use ({error}); restart it to free their memory.")


def empty_caches() -> None:
    """Give back what is free but still held."""
    gc.collect()
    import_module("comfy.model_management").soft_empty_cache()


def _allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
