"""What text encoders are asked so that they learn captions: the next token, hidden tokens, all tokens.

None adds parameters: answers are read off the embedding of tokens, which all encoders have (tied weights;
Press and Wolf, arXiv 1608.05859).
"""

from collections.abc import Sequence

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

_NOT_ASKED = -100


class NextToken(nn.Module):
    """A decoder is asked at each token of a prompt for the one that follows (GPT)."""

    def __init__(self, network: "transformers.LlamaModel", num_before: int) -> None:
        """`num_before` tokens stand before each prompt and are not asked for."""
        super().__init__()
        self.network = network
        self._num_before = num_before

    def forward(self, rows: Sequence[Tensor], generators: Sequence[torch.Generator]) -> Tensor:
        """The mean cross-entropy of each prompt's tokens, [B]. Nothing is drawn."""
        device = self.network.embed_tokens.weight.device
        tokens_BL = nn.utils.rnn.pad_sequence([row.to(device) for row in rows], batch_first=True)
        # Attention looks back only, so what pads the end is seen by nothing that is asked.
        states_BLD = _states(self.network(input_ids=tokens_BL, use_cache=False).last_hidden_state)
        asked_BL = _padded([row[1:] for row in rows], device)
        asked_BL[:, : self._num_before - 1] = _NOT_ASKED
        return _mean_loss(states_BLD[:, :-1], self.network.embed_tokens.weight, asked_BL)


class HiddenTokens(nn.Module):
    """An encoder that reads a prompt as a whole is asked for tokens that are hidden from it (BERT).

    In the place of a hidden token stands the last one of the embedding, which no tokenizer makes. As released
    models were trained, padding is read like text; it is never asked for.
    """

    def __init__(self, network: "transformers.T5EncoderModel", share: float, pad: int) -> None:
        super().__init__()
        self.network = network
        self._share = share
        self._pad = pad

    def forward(self, rows: Sequence[Tensor], generators: Sequence[torch.Generator]) -> Tensor:
        """The mean cross-entropy of each prompt's hidden tokens, [B]: of one at least."""
        weight = self.network.shared.weight
        hidden = [self._choose(row, generator) for row, generator in zip(rows, generators, strict=True)]
        read = [row.masked_fill(chosen, len(weight) - 1) for row, chosen in zip(rows, hidden, strict=True)]
        asked = [row.masked_fill(~chosen, _NOT_ASKED) for row, chosen in zip(rows, hidden, strict=True)]
        states_BLD = _states(self.network(input_ids=torch.stack(read).to(weight.device)).last_hidden_state)
        # T5's embedding has values about 1, so tied answers are scaled (arXiv 1910.10683, its own code).
        scaled = states_BLD * weight.shape[1] ** -0.5
        return _mean_loss(scaled, weight, torch.stack(asked).to(weight.device))

    def _choose(self, row: Tensor, generator: torch.Generator) -> Tensor:
        """Which tokens are hidden: each by chance, or else the one that chance came nearest to."""
        chance = torch.rand(row.shape, generator=generator).masked_fill(row == self._pad, 2.0)
        return (chance < self._share) | (chance == chance.min())


class AllTokens(nn.Module):
    """An encoder that makes one vector of a prompt is asked which tokens the prompt has."""

    def __init__(self, network: "transformers.CLIPTextModel", around: Sequence[int]) -> None:
        """`around`: tokens that begin, end and pad every prompt, and are not asked for."""
        super().__init__()
        self.network = network
        self._around = tuple(around)

    def forward(self, rows: Sequence[Tensor], generators: Sequence[torch.Generator]) -> Tensor:
        """The mean cross-entropy of each prompt's tokens, [B], in whatever order. Nothing is drawn."""
        embedding = self.network.get_input_embeddings()
        assert isinstance(embedding, nn.Embedding)
        weight = embedding.weight
        tokens_BL = torch.stack(list(rows)).to(weight.device)
        pooled_BD = _states(self.network(input_ids=tokens_BL).pooler_output)
        is_around_BL = torch.isin(tokens_BL, torch.tensor(self._around, device=weight.device))
        asked_BL = tokens_BL.masked_fill(is_around_BL, _NOT_ASKED)
        return _mean_loss(pooled_BD[:, None].expand(-1, tokens_BL.shape[1], -1), weight, asked_BL)


def _states(found: Tensor | None) -> Tensor:
    assert found is not None
    return found


def _padded(rows: Sequence[Tensor], device: torch.device) -> Tensor:
    return nn.utils.rnn.pad_sequence([row.to(device) for row in rows], True, _NOT_ASKED)


def _mean_loss(states_BLD: Tensor, weight_VD: Tensor, asked_BL: Tensor) -> Tensor:
    """[B]; a prompt that is asked for nothing comes to 0."""
    logits_BLV = states_BLD.float() @ weight_VD.float().T
    losses_BL = F.cross_entropy(logits_BLV.mT, asked_BL, ignore_index=_NOT_ASKED, reduction="none")
    return losses_BL.sum(1) / (asked_BL != _NOT_ASKED).sum(1).clamp(min=1)
