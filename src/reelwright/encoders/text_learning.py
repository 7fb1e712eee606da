"""The text encoders of models as they are trained: one value for each kind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from reelwright.core.errors import CheckpointError
from reelwright.encoders.clip import ClipText
from reelwright.encoders.llama import LlamaText
from reelwright.encoders.pretrained import Pretrained
from reelwright.encoders.t5 import T5Text
from reelwright.encoders.text_questions import AllTokens, HiddenTokens, NextToken

_NETWORK = "network."
"""Before the names of an encoder's parameters in the module that asks it."""


@dataclass(frozen=True, kw_only=True)
class LearnedText:
    """A text encoder, found, with nothing loaded."""

    folder: str
    """In a whole model."""
    tokenize: Callable[[str], list[int]]
    pretrained: Pretrained[Any, Any]
    ask: Callable[[Any], nn.Module]
    """What asks a network questions."""

    def open(self, seed: int | None) -> nn.Module:
        """In float32 on the processor, all of it learning; weights are drawn where there is a seed."""
        return self.ask(self.pretrained.to_train(seed)).requires_grad_(requires_grad=True)

    def files(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Parameters of what `open` gives by the names of released files."""
        own = {name.removeprefix(_NETWORK): tensor for name, tensor in tensors.items()}
        return self.pretrained.to_file(own)

    def settings(self) -> Mapping[str, Any]:
        """What stands in config.json."""
        return self.pretrained.config.to_diff_dict()


def learned_llama(text: LlamaText, system_prompt: str = "") -> LearnedText:
    """LLaMA, asked for the next token of a prompt that stands after the instruction."""
    return LearnedText(
        folder="text_encoder",
        tokenize=lambda caption: text.tokenize(caption, system_prompt)[0],
        pretrained=text.encoder,
        ask=lambda network: NextToken(network, text.crop_start(system_prompt)),
    )


def learned_clip(text: ClipText) -> LearnedText:
    """CLIP, asked which tokens a prompt has."""
    around = [text.special(kind) for kind in ("bos", "eos", "pad")]
    return LearnedText(
        folder="text_encoder_2",
        tokenize=lambda caption: text.tokenize(caption)[0],
        pretrained=text.encoder,
        ask=lambda network: AllTokens(network, around),
    )


def learned_t5(text: T5Text, max_tokens: int, masked_share: float) -> LearnedText:
    """T5, asked for hidden tokens. Raises CheckpointError if its embedding has no row to hide them with."""
    known, made = text.encoder.config.vocab_size, text.num_tokens
    if made >= known:
        raise CheckpointError(
            f"{text.encoder_path}: its embedding has {known} rows and the tokenizer makes {made} tokens, so"
            " that none is left to hide others with. Give an encoder with a larger vocab_size."
        )
    return LearnedText(
        folder="text_encoder",
        tokenize=lambda caption: text.tokenize(caption, max_tokens)[0],
        pretrained=text.encoder,
        ask=lambda network: HiddenTokens(network, masked_share, text.pad),
    )
