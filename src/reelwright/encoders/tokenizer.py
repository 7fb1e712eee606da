"""Prompts to tokens, from the files that released models carry; no network is ever asked."""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sentencepiece

from reelwright.checkpoint.recognize import check_not_foreign
from reelwright.core.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SENTENCEPIECE_FILE = "spiece.model"
TOKENIZER_FILE = "tokenizer.json"
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, OSError)


@dataclass(frozen=True, kw_only=True)
class TokenizerKind:
    """What tells one kind of tokenizer from another."""

    files: tuple[tuple[str, ...], ...]
    """Sets of files, any one of which is enough."""
    read: Callable[[Path], "PreTrainedTokenizerBase"]
    """The tokenizer of a folder."""
    num_closing: int
    """How many tokens it puts behind each text; they stay when the text is cut."""
    adds_special_tokens: bool = True
    """Whether the tokens around a text are put there by the tokenizer; if not, the text has them in it."""


class PromptTokenizer:
    """Cuts text into tokens and says which text did not fit.

    `folder` may be a file in it. Raises CheckpointError if its files are missing or damaged.
    """

    def __init__(self, folder: Path, kind: TokenizerKind) -> None:
        self.folder = folder.parent if folder.is_file() else folder
        self._kind = kind
        _check_files(self.folder, kind.files)
        self._tokenizer = _read(self.folder, kind)

    @property
    def num_tokens(self) -> int:
        """One more than the largest token."""
        return len(self._tokenizer)

    @property
    def num_words(self) -> int:
        """Without the tokens that were added to the vocabulary."""
        return self._tokenizer.vocab_size

    def tokenize(self, text: str, max_tokens: int = sys.maxsize) -> tuple[list[int], str]:
        """At most `max_tokens` tokens, and the text that was cut off."""
        encoded = self._tokenizer(
            text,
            add_special_tokens=self._kind.adds_special_tokens,
            return_offsets_mapping=True,
            verbose=False,
        )
        ids: list[int] = list(encoded["input_ids"])
        if len(ids) <= max_tokens:
            return ids, ""
        num_kept = max_tokens - self._kind.num_closing
        first_dropped: int = encoded["offset_mapping"][num_kept][0]
        return [*ids[:num_kept], *ids[len(ids) - self._kind.num_closing :]], text[first_dropped:]

    def tokenize_padded(self, text: str, max_tokens: int) -> tuple[list[int], str]:
        """Exactly `max_tokens` tokens, padded at the end; and the text that was cut off."""
        ids, dropped = self.tokenize(text, max_tokens)
        return ids + [self.special("pad")] * (max_tokens - len(ids)), dropped

    def special(self, kind: str) -> int:
        """The token for "pad", "eos" or "bos". Raises CheckpointError if there is none."""
        token: int | None = getattr(self._tokenizer, f"{kind}_token_id")
        if token is None:
            raise CheckpointError(f"{self.folder}: the tokenizer has no {kind} token. Use the model's own.")
        return token

    def unknown(self, pieces: Iterable[str]) -> list[str]:
        """Those of `pieces` that are no single token."""
        vocabulary = self._tokenizer.get_vocab()
        return [piece for piece in pieces if piece not in vocabulary]

    def check_belongs(self, encoder_path: Path, vocab_size: int) -> None:
        """Raise CheckpointError if it makes tokens that an encoder of `vocab_size` tokens does not know."""
        if self.num_tokens > vocab_size:
            raise CheckpointError(
                f"{self.folder}: has {self.num_tokens} tokens, but {encoder_path} knows {vocab_size}."
                " Give the tokenizer that belongs to this text encoder."
            )


def _read(folder: Path, kind: TokenizerKind) -> "PreTrainedTokenizerBase":
    try:
        return kind.read(folder)
    except Exception as error:
        # Damage is told by these, or by Exception itself: the tokenizers library has no class of its own.
        if type(error) is Exception or isinstance(error, _DAMAGE):
            raise CheckpointError(f"{folder}: the tokenizer cannot be read. Fetch it again.") from error
        raise


def _check_files(folder: Path, choices: tuple[tuple[str, ...], ...]) -> None:
    """Damage that the library would not notice: it makes a tokenizer without words of an empty file."""
    found = [names for names in choices if all((folder / name).is_file() for name in names)]
    if not found:
        wanted = " or ".join(" with ".join(names) for names in choices)
        raise CheckpointError(
            f"{folder}: no tokenizer is here ({wanted}). Name the folder `tokenizer` of the model."
        )
    for name in dict.fromkeys(name for names in found for name in names):
        check_not_foreign(folder / name)
        try:
            _check_content(folder / name)
        except (RuntimeError, OSError, ValueError) as error:
            raise CheckpointError(f"{folder / name}: the tokenizer is damaged. Fetch it again.") from error


def _check_content(file: Path) -> None:
    if file.suffix == ".model":
        sentencepiece.SentencePieceProcessor(model_file=str(file))
    elif file.suffix == ".json":
        json.loads(file.read_bytes())
    else:
        file.read_text(encoding="utf-8")
