"""ComfyUI without ComfyUI: how it loads custom nodes, checks a prompt, and runs it, as far as nodes can tell.

Written from how ComfyUI 0.3.64 behaves. What it says of a prompt has the shape that its page and `/prompt`
show; the modules that nodes import in it are put into sys.modules for the time of a test.
"""

import importlib.util
import sys
import weakref
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

Prompt = Mapping[str, Mapping[str, Any]]
CONVERTED = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


class InterruptProcessingError(Exception):
    """What ComfyUI raises where the user pressed Cancel."""


@dataclass
class Run:
    """What became of a prompt."""

    node_errors: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    """Of the whole prompt, or of the node that failed."""
    executed: list[str] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    """What output nodes show, by node."""
    results: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    is_interrupted: bool = False
    progress: list[tuple[int, int, Any]] = field(default_factory=list)


class ComfyStandIn:
    """One server: its folders, its nodes, its memory of the last prompt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("custom_nodes", "input", "output", "models"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.classes: dict[str, type] = {
            "LoadImage": _load_image(folder / "input"),
            "RepeatImageBatch": RepeatImageBatch,
            "ImageInvert": ImageInvert,
            "LoadVideo": _load_video(folder / "input"),
        }
        self.titles: dict[str, str] = {}
        self.cached: dict[Any, tuple[tuple[Any, ...], Any]] = {}
        self.on_progress: Callable[[int, int, Any], None] = lambda *_: None
        self.memory = _Memory()

    @contextmanager
    def modules(self):
        """ComfyUI's modules, as nodes import them."""
        modules = self._modules()
        before = {name: sys.modules.get(name) for name in modules}
        sys.modules.update(modules)
        try:
            yield self
        finally:
            for name, module in before.items():
                if module is None:
                    del sys.modules[name]
                else:
                    sys.modules[name] = module

    def load_custom_nodes(self) -> None:
        """Every folder in custom_nodes is a package of its own, called by its path."""
        for place in sorted((self.folder / "custom_nodes").iterdir()):
            name = str(place).replace(".", "_x_")
            spec = importlib.util.spec_from_file_location(name, place / "__init__.py")
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
            self.classes |= module.NODE_CLASS_MAPPINGS
            self.titles |= module.NODE_DISPLAY_NAME_MAPPINGS

    def run(self, prompt: Prompt) -> Run:
        """What `/prompt` and then the worker do."""
        run = Run()
        for key, node in prompt.items():
            if node["class_type"] not in self.classes:
                told = f"Cannot execute because node {node['class_type']} does not exist."
                run.error = {"type": "invalid_prompt", "message": told, "details": f"Node ID '#{key}'"}
                return run
        ends = [key for key, node in prompt.items() if getattr(self._class(node), "OUTPUT_NODE", False)]
        if not ends:
            run.error = {"type": "prompt_no_outputs", "message": "Prompt has no outputs", "details": ""}
            return run
        prompt = {key: {**node, "inputs": dict(node["inputs"])} for key, node in prompt.items()}
        checked: dict[str, bool] = {}
        results = [self._check(prompt, end, checked, run) for end in ends]
        if not all(results):
            run.error = {"type": "prompt_outputs_failed_validation", "details": ""}
            return run
        self._execute(prompt, ends, run)
        return run

    def _class(self, node: Mapping[str, Any]) -> Any:
        return self.classes[node["class_type"]]

    def _check(self, prompt: Prompt, key: str, checked: dict[str, bool], run: Run) -> bool:
        if key in checked:
            return checked[key]
        node = prompt[key]
        told = self._class(node).INPUT_TYPES()
        errors: list[dict[str, Any]] = []
        is_good = True
        for kind in ("required", "optional"):
            for name, (type_, *options) in told.get(kind, {}).items():
                if name not in node["inputs"]:
                    if kind == "required":
                        errors.append(_error("required_input_missing", "Required input is missing", name))
                    continue
                value = node["inputs"][name]
                if isinstance(value, list):
                    received = self._class(prompt[value[0]]).RETURN_TYPES[value[1]]
                    if not _fits(received, type_):
                        details = f"{name}, received_type({received}) mismatch input_type({type_})"
                        message = "Return type mismatch between linked nodes"
                        errors.append(_error("return_type_mismatch", message, details))
                        continue
                    is_good = self._check(prompt, value[0], checked, run) and is_good
                else:
                    errors += _value_errors(node["inputs"], name, type_, options[0] if options else {})
        if errors:
            run.node_errors[key] = {"errors": errors, "class_type": node["class_type"]}
        checked[key] = is_good and not errors
        return checked[key]

    def _execute(self, prompt: Prompt, ends: list[str], run: Run) -> None:
        self.memory.is_interrupted = False
        signatures: dict[str, Any] = {}
        for key in prompt:
            self._signature(prompt, key, signatures)
        kept = set(signatures.values())
        self.cached = {known: made for known, made in self.cached.items() if known in kept}
        self.on_made = lambda *progress: (run.progress.append(progress), self.on_progress(*progress))
        with torch.inference_mode():
            try:
                for end in ends:
                    self._make(prompt, end, signatures, run)
            except InterruptProcessingError:
                run.is_interrupted = True
            except Exception as error:  # noqa: BLE001 - as ComfyUI does, a node may raise anything
                run.error = {"exception_message": str(error), "exception_type": type(error).__name__}
        run.results = {
            key: self.cached[known][0] for key, known in signatures.items() if known in self.cached
        }

    def _signature(self, prompt: Prompt, key: str, found: dict[str, Any]) -> Any:
        """What a node's result follows from: its class, its values, and those of all nodes before it."""
        if key in found:
            return found[key]
        node = prompt[key]
        inputs: list[Any] = []
        for name, value in sorted(node["inputs"].items()):
            if isinstance(value, list):
                inputs.append((name, self._signature(prompt, value[0], found), value[1]))
            else:
                inputs.append((name, value))
        changed = getattr(self._class(node), "IS_CHANGED", None)
        constants = {
            name: (None if isinstance(value, list) else value) for name, value in node["inputs"].items()
        }
        found[key] = (node["class_type"], changed(**constants) if changed else False, *inputs)
        return found[key]

    def _make(self, prompt: Prompt, key: str, signatures: Mapping[str, Any], run: Run) -> tuple[Any, ...]:
        known = signatures[key]
        if known not in self.cached:
            node, kind = prompt[key], self._class(prompt[key])
            told = kind.INPUT_TYPES()
            given: dict[str, Any] = {}
            for name, value in node["inputs"].items():
                if isinstance(value, list):
                    given[name] = self._make(prompt, value[0], signatures, run)[value[1]]
                elif name in told.get("required", {}) or name in told.get("optional", {}):
                    given[name] = value
            answers = {"PROMPT": dict(prompt), "EXTRA_PNGINFO": {"workflow": {"nodes": []}}, "UNIQUE_ID": key}
            given |= {name: answers[what] for name, what in told.get("hidden", {}).items()}
            self.memory.throw_exception_if_processing_interrupted()
            run.executed.append(key)
            result = getattr(kind(), kind.FUNCTION)(**given)
            shown = result.get("ui") if isinstance(result, dict) else None
            made = result["result"] if isinstance(result, dict) else result
            assert len(made) == len(kind.RETURN_TYPES)
            self.cached[known] = (made, shown)
        made, shown = self.cached[known]
        if shown is not None:
            run.outputs[key] = shown
        return made

    def _modules(self) -> dict[str, ModuleType]:
        models = self.folder / "models"
        kinds = ("diffusion_models", "vae", "text_encoders", "clip_vision", "loras", "diffusers")
        places: dict[str, tuple[list[str], set[str]]] = {
            name: ([str(models / name)], set()) for name in kinds
        }

        def add_model_folder_path(name: str, path: str) -> None:
            places.setdefault(name, ([], set()))[0].append(path)

        def get_filename_list(name: str) -> list[str]:
            found = [path for place in places[name][0] for path in Path(place).rglob("*.safetensors")]
            return sorted(str(path.relative_to(models / name)) for path in found)

        def get_full_path(kind: str, name: str) -> str | None:
            paths = [Path(place) / name for place in places[kind][0]]
            return next((str(path) for path in paths if path.is_file()), None)

        folder_paths = SimpleNamespace(
            models_dir=str(models),
            folder_names_and_paths=places,
            add_model_folder_path=add_model_folder_path,
            get_filename_list=get_filename_list,
            get_folder_paths=lambda name: list(places[name][0]),
            get_full_path=get_full_path,
            get_output_directory=lambda: str(self.folder / "output"),
            get_save_image_path=_save_path,
        )

        class ProgressBar:
            def __init__(bar, total: int) -> None:  # noqa: N805 - the stand-in is `self`
                bar.total = total

            def update_absolute(bar, value: int, total: int | None = None, preview: Any = None) -> None:  # noqa: N805
                self.memory.throw_exception_if_processing_interrupted()
                self.on_made(min(value, bar.total), total or bar.total, preview)

        return {
            "comfy": ModuleType("comfy"),
            "comfy.utils": _module("comfy.utils", ProgressBar=ProgressBar),
            "comfy.cli_args": _module("comfy.cli_args", args=SimpleNamespace(disable_metadata=False)),
            "comfy.model_management": self.memory,
            "folder_paths": _module("folder_paths", **vars(folder_paths)),
        }


class _Memory(ModuleType):
    """ComfyUI's manager of models: a list, the last used first; a model on a device may be told to leave."""

    def __init__(self) -> None:
        super().__init__("comfy.model_management")
        self.current_loaded_models: list[_Loaded] = []
        self.is_interrupted = False
        self.device = torch.device("cpu")

    def throw_exception_if_processing_interrupted(self) -> None:
        if self.is_interrupted:
            self.is_interrupted = False
            raise InterruptProcessingError

    def get_torch_device(self) -> torch.device:
        return self.device

    def load_models_gpu(self, models: list[Any]) -> None:
        for model in models:
            model.model_patches_models()
            loaded = _Loaded(model)
            for at, each in reversed(list(enumerate(self.current_loaded_models))):
                if model.is_clone(each.model):
                    former = self.current_loaded_models.pop(at)
                    former.model.detach(unpatch_all=False)
                    former.finalizer.detach()
            if model.current_loaded_device() != loaded.device:
                model.model_size()
            model.model_patches_to(loaded.device)
            model.model_patches_to(model.model_dtype())
            model.partially_load(loaded.device, 1e32, force_patch_weights=False)
            loaded.real_model = weakref.ref(model.model)
            loaded.finalizer = weakref.finalize(model.model, self._clean_up)
            self.current_loaded_models.insert(0, loaded)

    def _clean_up(self) -> None:
        """A model is gone that nobody was asked to let go of."""
        self.current_loaded_models = [each for each in self.current_loaded_models if each.real_model()]

    def free_memory(self, wanted: float, device: torch.device, keep_loaded: Any = ()) -> None:
        """It holds on to places in the list while models leave, as ComfyUI's does."""
        leaving: list[int] = []
        for at, each in enumerate(self.current_loaded_models):
            if each.device != device or each in keep_loaded or each.model is None:
                continue
            held = each.model.model_size() - (each.model.model_size() - each.model.loaded_size())
            if wanted < held and each.model.partially_unload(each.model.offload_device, wanted) >= wanted:
                continue
            each.model.detach(True)
            each.finalizer.detach()
            each.real_model = None
            leaving.append(at)
        for at in reversed(leaving):
            self.current_loaded_models.pop(at)

    def unload_all_models(self) -> None:
        self.free_memory(1e30, self.device)

    def soft_empty_cache(self) -> None:
        pass


class _Loaded:
    def __init__(self, model: Any) -> None:
        assert model.parent is None
        self._model = weakref.ref(model)
        self.device = model.load_device
        self.real_model: Any = None
        self.finalizer: Any = None

    @property
    def model(self) -> Any:
        return self._model()


class RepeatImageBatch:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "repeat"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - as ComfyUI calls it
        return {"required": {"image": ("IMAGE",), "amount": ("INT", {"default": 1, "min": 1, "max": 4096})}}

    def repeat(self, image: torch.Tensor, amount: int) -> tuple[torch.Tensor]:
        return (image.repeat(amount, 1, 1, 1),)


class ImageInvert:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "invert"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - as ComfyUI calls it
        return {"required": {"image": ("IMAGE",)}}

    def invert(self, image: torch.Tensor) -> tuple[torch.Tensor]:
        return (1.0 - image,)


def _load_image(folder: Path) -> type:
    class LoadImage:
        RETURN_TYPES = ("IMAGE", "MASK")
        FUNCTION = "load_image"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - as ComfyUI calls it
            return {"required": {"image": (sorted(path.name for path in folder.iterdir()), {})}}

        def load_image(self, image: str) -> tuple[torch.Tensor, torch.Tensor]:
            picture = Image.open(folder / image).convert("RGB")
            pixels = torch.from_numpy(np.array(picture).astype(np.float32) / 255.0)[None]
            return pixels, torch.zeros(1, 64, 64)

    return LoadImage


def _load_video(folder: Path) -> type:
    class LoadVideo:
        RETURN_TYPES = ("VIDEO",)
        FUNCTION = "load"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - as ComfyUI calls it
            return {"required": {"file": (sorted(path.name for path in folder.iterdir()), {})}}

        def load(self, file: str) -> tuple[Any]:
            return (VideoOfFile(folder / file),)

    return LoadVideo


class Video:
    """Every VIDEO can be asked for a stream; not each can make one."""

    def get_stream_source(self) -> Any:
        raise ValueError("Could not determine output format")


class VideoOfFrames(Video):
    """A VIDEO that is in memory."""

    def __init__(self, images: torch.Tensor, fps: float) -> None:
        self._parts = SimpleNamespace(images=images, frame_rate=Fraction(fps))

    def get_components(self) -> Any:
        return self._parts


class VideoOfFile(Video):
    """A VIDEO that is a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get_stream_source(self) -> str:
        return str(self._path)


def _fits(received: Any, wanted: Any) -> bool:
    """Types are names with commas between; one in common is enough."""
    if not isinstance(received, str) or not isinstance(wanted, str):
        return received == wanted
    return bool(set(received.split(",")) & set(wanted.split(",")))


def _value_errors(inputs: dict[str, Any], name: str, type_: Any, told: Mapping[str, Any]) -> list[Any]:
    value = inputs[name]
    if isinstance(type_, list):
        shown = f"{name}: '{value}' not in {type_ if len(type_) <= 20 else f'(list of length {len(type_)})'}"
        return [] if value in type_ else [_error("value_not_in_list", "Value not in list", shown)]
    try:
        inputs[name] = value = CONVERTED.get(type_, lambda given: given)(value)
    except (TypeError, ValueError) as error:
        message = f"Failed to convert an input value to a {type_} value"
        return [_error("invalid_input_type", message, f"{name}, {value}, {error}")]
    if "min" in told and value < told["min"]:
        return [_error("value_smaller_than_min", f"Value {value} smaller than min of {told['min']}", name)]
    if "max" in told and value > told["max"]:
        return [_error("value_bigger_than_max", f"Value {value} bigger than max of {told['max']}", name)]
    return []


def _error(kind: str, message: str, details: str) -> dict[str, str]:
    return {"type": kind, "message": message, "details": details}


def _save_path(prefix: str, folder: str, width: int = 0, height: int = 0) -> tuple[str, str, int, str, str]:
    prefix = prefix.replace("%width%", str(width)).replace("%height%", str(height))
    place = (Path(folder) / prefix).parent
    place.mkdir(parents=True, exist_ok=True)
    name = Path(prefix).name
    taken = [path.name.removeprefix(f"{name}_").split("_")[0] for path in place.glob(f"{name}_*")]
    counter = max((int(number) for number in taken if number.isdigit()), default=0) + 1
    return str(place), name, counter, str(Path(prefix).parent), prefix


def _module(name: str, **content: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content)
    return module
