"""Everything that training text encoders needs, found and checked, with nothing loaded."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from reelwright import families
from reelwright.core.errors import ConfigError
from reelwright.data.caption_items import CaptionItems
from reelwright.protocols.encoder_train_configs import EncoderTrainConfig
from reelwright.protocols.encoder_training import EncoderModel
from reelwright.protocols.train_configs import SavingConfig
from reelwright.workflows.encoder_training.captions import read_captions
from reelwright.workflows.training.finding import check_outputs
from reelwright.workflows.training.lr_schedules import check_schedule
from reelwright.workflows.training.optimizers import check_optimizer

_OF_ADAPTERS = ("layout", "metadata", "comment", "title", "author", "description", "license", "tags")


@dataclass(frozen=True, kw_only=True)
class FoundEncoders:
    """Of one run."""

    config: EncoderTrainConfig
    model: EncoderModel
    items: CaptionItems
    notices: tuple[str, ...]


@contextmanager
def find_encoders(family: str, config: EncoderTrainConfig) -> Generator[FoundEncoders]:
    """Find the encoders and read the captions. Raises UserError."""
    training = families.load(family).encoder_training
    if training is None:
        raise ConfigError(f"stage: encoders of {family} are not trained here. Train its denoiser.")
    check_outputs(config)
    check_schedule(config.schedule, config.steps, config.optimizer)
    if problems := list(_problems(config)):
        raise ConfigError("\n".join(problems))
    remarks = check_optimizer(config.optimizer)
    model = training.locate(config)
    tokenizers = {encoder.folder: encoder.tokenize for encoder in model.encoders}
    items = CaptionItems(read_captions(config), tokenizers, batch_size=config.batch_size)
    yield FoundEncoders(config=config, model=model, items=items, notices=(*remarks, *model.notices))


def _problems(config: EncoderTrainConfig) -> Iterator[str]:
    usual = SavingConfig()
    for name in _OF_ADAPTERS:
        if getattr(config.saving, name) != getattr(usual, name):
            yield f"saving.{name}: is for adapters, and has no effect on encoders. Leave it out."
    if config.execution.dtype not in ("auto", "float32"):
        yield (
            "execution.dtype: weights of encoders are learned in float32. Leave it out; how layers compute is"
            " said with --execution.mixed-precision."
        )
