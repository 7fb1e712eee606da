"""LPIPS against VGG16 written out once more, in float64, and its weights from files of others' names."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from reelwright.core.errors import CheckpointError, ConfigError
from reelwright.nn.perceptual_distance import PerceptualDistance
from reelwright.protocols.autoencoder_train_configs import LossConfig
from reelwright.workflows.autoencoder_training.perceptual_weights import check_perceptual, load_perceptual

CONVOLUTIONS = [(0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)]
"""Their numbers among torchvision's layers."""
WIDTHS = [64, 128, 256, 512, 512]


def random_weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}
    inputs = 3
    for stage, (numbers, outputs) in enumerate(zip(CONVOLUTIONS, WIDTHS, strict=True)):
        for number in numbers:
            scale = (2 / (9 * inputs)) ** 0.5
            weight = torch.randn(outputs, inputs, 3, 3, generator=generator)
            weights[f"features.{number}.weight"] = scale * weight
            weights[f"features.{number}.bias"] = 0.1 * torch.randn(outputs, generator=generator)
            inputs = outputs
        weights[f"lin{stage}.model.1.weight"] = torch.rand(1, outputs, 1, 1, generator=generator)
    return weights


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return random_weights()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, weights: dict[str, Tensor]) -> Path:
    path = tmp_path_factory.mktemp("lpips") / "vgg_lpips.safetensors"
    save_file(weights, path)
    return path


def written_out(weights: dict[str, Tensor], one: Tensor, other: Tensor) -> Tensor:
    def features(pixels: Tensor) -> list[Tensor]:
        mean = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64).view(1, 3, 1, 1)
        deviation = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64).view(1, 3, 1, 1)
        hidden, seen = (pixels - mean) / deviation, list[Tensor]()
        for numbers in CONVOLUTIONS:
            hidden = F.max_pool2d(hidden, 2, 2) if seen else hidden
            for number in numbers:
                weight, bias = (weights[f"features.{number}.{part}"].double() for part in ("weight", "bias"))
                hidden = F.conv2d(hidden, weight, bias, padding=1).relu()
            seen.append(hidden)
        return seen

    total = torch.zeros(len(one), dtype=torch.float64)
    for stage, (a, b) in enumerate(zip(features(one), features(other), strict=True)):
        difference = a / (a.pow(2).sum(1, True).sqrt() + 1e-10) - b / (b.pow(2).sum(1, True).sqrt() + 1e-10)
        importance = weights[f"lin{stage}.model.1.weight"].double().view(1, -1, 1, 1)
        total = total + (importance * difference**2).sum(1).mean((1, 2))
    return total


def pictures(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, 24, 32, generator=generator, dtype=torch.float64) * 2 - 1


def test_distances_and_gradients_are_those_of_the_paper(file: Path, weights: dict[str, Tensor]):
    one, other = pictures(1), pictures(2).requires_grad_()
    exact_other = other.detach().clone().requires_grad_()

    distances = load_perceptual(file).double()(one, other)
    expected = written_out(weights, one, exact_other)

    torch.testing.assert_close(distances, expected)
    gradient, exact = (
        torch.autograd.grad(values.sum(), place)[0]
        for values, place in ((distances, other), (expected, exact_other))
    )
    torch.testing.assert_close(gradient, exact)
    torch.testing.assert_close(
        load_perceptual(file)(one.float(), pictures(2).float()).double(), expected.detach()
    )


def test_equal_pictures_have_no_distance_and_black_features_no_gradient():
    torch.manual_seed(0)
    network = PerceptualDistance(widths=(4, 4, 4, 4, 4)).double()
    for stage in network.stages:
        stage[-1].weight.data.zero_()  # pyright: ignore
        stage[-1].bias.data.fill_(-1.0)  # pyright: ignore
    other = pictures(1).requires_grad_()

    distance = network(pictures(1), other)
    distance.sum().backward()

    assert torch.equal(distance, torch.zeros(2, dtype=torch.float64))
    assert other.grad is not None and torch.equal(other.grad, torch.zeros_like(other))


def test_weights_do_not_learn(file: Path):
    assert not any(parameter.requires_grad for parameter in load_perceptual(file).parameters())


def test_files_of_torch_and_names_of_the_whole_network_are_read(tmp_path: Path, weights: dict[str, Tensor]):
    stages = {number: stage for stage, numbers in enumerate(CONVOLUTIONS, 1) for number in numbers}
    whole = {
        name.replace("features.", f"net.slice{stages[int(name.split('.')[1])]}.")
        if name.startswith("features")
        else name: tensor
        for name, tensor in weights.items()
    }
    extra = {
        "scaling_layer.shift": torch.zeros(1, 3, 1, 1),
        "lins.0.model.1.weight": torch.zeros(1, 64, 1, 1),
    }
    torch.save(whole | extra, tmp_path / "lpips.pth")

    loaded = load_perceptual(tmp_path / "lpips.pth")

    torch.testing.assert_close(loaded.stages[4][2].weight, weights["features.28.weight"])  # pyright: ignore


def test_two_files_in_a_folder_are_read_together(tmp_path: Path, weights: dict[str, Tensor]):
    parts = {
        prefix: {n: t for n, t in weights.items() if n.startswith(prefix)} for prefix in ("features", "lin")
    }
    torch.save(parts["features"] | {"classifier.6.bias": torch.zeros(1000)}, tmp_path / "vgg16.pth")
    torch.save(parts["lin"], tmp_path / "vgg.pth")

    loaded = load_perceptual(tmp_path)

    torch.testing.assert_close(loaded.stages[0][0].weight, weights["features.0.weight"])  # pyright: ignore
    check_perceptual(LossConfig(perceptual=1.0, perceptual_weights=tmp_path))


def test_the_perceptual_loss_is_refused_without_a_file():
    with pytest.raises(ConfigError, match=r"losses\.perceptual_weights.*torchvision.*lpips"):
        check_perceptual(LossConfig(perceptual=1.0))


def test_a_file_that_is_missing_or_empty_is_refused_with_where_to_find_it(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"nowhere\.pth does not exist.*torchvision"):
        check_perceptual(LossConfig(perceptual=1.0, perceptual_weights=tmp_path / "nowhere.pth"))
    with pytest.raises(ConfigError, match=r"no files of weights.*torchvision"):
        check_perceptual(LossConfig(perceptual=1.0, perceptual_weights=tmp_path))


def test_a_file_without_the_linear_layers_is_refused(tmp_path: Path, weights: dict[str, Tensor]):
    features = {name: tensor for name, tensor in weights.items() if name.startswith("features")}
    save_file(features, tmp_path / "vgg16.safetensors")

    with pytest.raises(CheckpointError, match="5 missing"):
        check_perceptual(LossConfig(perceptual=1.0, perceptual_weights=tmp_path / "vgg16.safetensors"))


def test_a_file_without_a_weight_of_the_loss_has_no_effect_and_is_refused(file: Path):
    with pytest.raises(ConfigError, match="has no effect"):
        check_perceptual(LossConfig(perceptual_weights=file))
    check_perceptual(LossConfig())
