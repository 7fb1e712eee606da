"""Prompts to T5 tokens, from the files that released models carry; no network is ever asked."""

import json
from pathlib import Path

import sentencepiece
import transformers

from reelwright.checkpoint.recognize import check_not_foreign
from reelwright.core.errors import CheckpointError

_SENTENCEPIECE = "spiece.model"
_TOKENIZER_JSON = "tokenizer.json"


class T5Tokenizer:
    """Cuts text into tokens and says which text did not fit.

    Raises CheckpointError if the folder lacks a usable spiece.model or tokenizer.json.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.parent if folder.is_file() else folder
        _check_files(self._folder)
        try:
            self._tokenizer = transformers.T5Tokenizer.from_pretrained(self._folder, local_files_only=True)
        except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
            raise CheckpointError(f"{self._folder}: the tokenizer cannot be read. Fetch it again.") from error

    @property
    def num_tokens(self) -> int:
        """One more than the largest token."""
        return len(self._tokenizer)

    def tokenize(self, prompt: str, max_tokens: int) -> tuple[list[int], str]:
        """Exactly `max_tokens` tokens: the text's, one that ends it, padding; and the text cut off."""
        encoded = self._tokenizer(prompt, return_offsets_mapping=True, verbose=False)
        ids: list[int] = list(encoded["input_ids"])
        if len(ids) <= max_tokens:
            return ids + [self._special("pad")] * (max_tokens - len(ids)), ""
        first_dropped: int = encoded["offset_mapping"][max_tokens - 1][0]
        return [*ids[: max_tokens - 1], self._special("eos")], prompt[first_dropped:]

    def _special(self, kind: str) -> int:
        token: int | None = getattr(self._tokenizer, f"{kind}_token_id")
        if token is None:
            raise CheckpointError(f"{self._folder}: the tokenizer has no {kind} token. Use the model's own.")
        return token


def _check_files(folder: Path) -> None:
    """Damage that the library would not notice: it makes a tokenizer without words of an empty file."""
    files = [folder / name for name in (_SENTENCEPIECE, _TOKENIZER_JSON) if (folder / name).is_file()]
    if not files:
        raise CheckpointError(
            f"{folder}: no tokenizer is here ({_SENTENCEPIECE} or {_TOKENIZER_JSON})."
            " Name the folder `tokenizer` of the model."
        )
    for file in files:
        check_not_foreign(file)
        try:
            if file.name == _SENTENCEPIECE:
                sentencepiece.SentencePieceProcessor(model_file=str(file))
            else:
                json.loads(file.read_bytes())
        except (RuntimeError, OSError, ValueError) as error:
            raise CheckpointError(f"{file}: the tokenizer is damaged. Fetch it again.") from error
