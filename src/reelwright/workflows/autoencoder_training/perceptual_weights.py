"""The perceptual distance from weights that a user names: they are others' work, and never fetched."""

from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path

import torch

from reelwright.checkpoint.key_map import KeyMap, Rule
from reelwright.checkpoint.loading import detect_layout, expected_shapes, load_weights
from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.checkpoint.tensor_source import TensorSource, combine
from reelwright.core.errors import ConfigError
from reelwright.nn.perceptual_distance import NUM_CONVOLUTIONS, PerceptualDistance
from reelwright.protocols.autoencoder_train_configs import LossConfig

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_WHERE = (
    "They are VGG16's features (torchvision's vgg16 weights: features.0.weight, …) and LPIPS' linear layers"
    " (vgg.pth of the package lpips: lin0.model.1.weight, …), in one file or side by side in a folder;"
    " the state_dict of lpips.LPIPS(net='vgg') holds both."
)


def check_perceptual(config: LossConfig) -> None:
    """Raise an error unless the weights that the perceptual loss needs are there; no weight is read."""
    path = config.perceptual_weights
    if not config.perceptual:
        if path is not None:
            raise ConfigError(
                f"losses.perceptual_weights: {path} has no effect with losses.perceptual = 0."
                " Give that a weight, 1 say, or leave the file out."
            )
        return
    if path is None:
        raise ConfigError(
            f"losses.perceptual: {config.perceptual:g} needs losses.perceptual_weights. {_WHERE}"
        )
    if not path.exists():
        raise ConfigError(f"losses.perceptual_weights: {path} does not exist. {_WHERE}")
    with torch.device("meta"):
        network = PerceptualDistance()
    with _open(path) as source:
        detect_layout(source, _layouts(), expected_shapes(network))


def load_perceptual(path: Path) -> PerceptualDistance:
    """The distance with the weights of a file, or of a folder of files, which training leaves as they are.

    Raises CheckpointError that says which tensors are missing.
    """
    with torch.device("meta"):
        network = PerceptualDistance()
    with _open(path) as source:
        layout = detect_layout(source, _layouts(), expected_shapes(network))
        load_weights(network, source, layout, dtype=torch.float32)
    return network.requires_grad_(requires_grad=False).eval()


def _open(path: Path) -> TensorSource:
    """A folder holds what belongs together, by whatever names."""
    if not path.is_dir():
        return open_tensors(path)
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    if not files:
        raise ConfigError(f"losses.perceptual_weights: {path} holds no files of weights. {_WHERE}")
    with ExitStack() as opened:
        combined = combine([opened.enter_context(open_tensors(file)) for file in files])
        opened.pop_all()
    return combined


def _layouts() -> tuple[KeyMap, KeyMap]:
    """Convolutions are numbered through with the activations after them and the pooling between stages."""
    starts = accumulate((2 * count + 1 for count in NUM_CONVOLUTIONS), initial=0)
    numbers = [
        (stage, index, start + 2 * index)
        for (stage, count), start in zip(enumerate(NUM_CONVOLUTIONS), starts, strict=False)
        for index in range(count)
    ]
    linear = tuple(
        Rule(f"importances.{stage}.weight", f"lin{stage}.model.1.weight")
        for stage in range(len(NUM_CONVOLUTIONS))
    )
    plain = tuple(Rule(f"stages.{stage}.{i}.*", f"features.{number}.*") for stage, i, number in numbers)
    sliced = tuple(
        Rule(f"stages.{stage}.{i}.*", f"net.slice{stage + 1}.{number}.*") for stage, i, number in numbers
    )
    return (
        KeyMap(name="VGG16 with LPIPS", rules=plain + linear, dropped=("classifier.*",)),
        KeyMap(name="LPIPS", rules=sliced + linear, dropped=("scaling_layer.*", "lins.*")),
    )
