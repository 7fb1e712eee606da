"""Small tokenizers of the two kinds that the text encoders read, made of captions of simple scenes."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer

from reelwright.checkpoint.settings_files import write_json
from reelwright.core.paths import write_text_atomic
from reelwright.encoders.clip import MAX_TOKENS
from reelwright.encoders.llama import SYSTEM_PROMPT

# How the released tokenizers split text into words (their tokenizer.json, and the source of CLIP).
_LLAMA_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_LLAMA_SPECIAL = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<pad>",
)
_CLIP_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
_WORD_END = "</w>"
_MANY = 10_000


def write_llama_tokenizer(folder: Path, captions: Iterable[str]) -> int:
    """Write tokenizer.json with the special tokens of LLaMA 3; whatever it does not know it spells in bytes.

    Every word of the released instruction is one token, as in the released tokenizer. Returns the number of
    tokens.
    """
    tokenizer = Tokenizer(BPE())
    splits = [
        pre_tokenizers.Split(Regex(_LLAMA_WORDS), behavior="isolated"),
        ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)
    tokenizer.decoder = decoders.ByteLevel()
    _train(tokenizer, (*captions, SYSTEM_PROMPT, "system", "user", "\n\n"))
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in _LLAMA_SPECIAL]
    )
    begin = _LLAMA_SPECIAL[0]
    tokenizer.post_processor = TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))]
    )
    write_json(folder / "tokenizer.json", json.loads(tokenizer.to_str()))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": begin,
        "eos_token": _LLAMA_SPECIAL[1],
        "pad_token": _LLAMA_SPECIAL[-1],
        "padding_side": "right",
        "model_max_length": 8192,
    }
    write_json(folder / "tokenizer_config.json", settings)
    return tokenizer.get_vocab_size()


def write_clip_tokenizer(folder: Path, captions: Iterable[str]) -> int:
    """Write vocab.json and merges.txt with the special tokens of CLIP last; returns the number of tokens."""
    tokenizer = Tokenizer(BPE(end_of_word_suffix=_WORD_END))
    tokenizer.normalizer = normalizers.Lowercase()
    splits = [
        pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True),
        ByteLevel(add_prefix_space=False),
    ]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)
    _train(tokenizer, captions, _WORD_END)
    pairs: list[tuple[str, str]] = json.loads(tokenizer.to_str())["model"]["merges"]
    merges = [" ".join(pair) for pair in pairs]
    words = ("".join(pair) for pair in pairs)
    tokens = dict.fromkeys([*_clip_alphabet(), *words, *_CLIP_SPECIAL])
    write_json(folder / "vocab.json", {token: number for number, token in enumerate(tokens)})
    write_text_atomic(folder / "merges.txt", "\n".join(["#version: 0.2", *merges]) + "\n")
    begin, end = _CLIP_SPECIAL
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": begin,
        "eos_token": end,
        "pad_token": end,
        "unk_token": end,
        "model_max_length": MAX_TOKENS,
    }
    write_json(folder / "tokenizer_config.json", settings)
    return len(tokens)


def _train(tokenizer: Tokenizer, texts: Iterable[str], word_end: str = "") -> None:
    """Merge until every word is one token."""
    trainer = BpeTrainer(
        vocab_size=_MANY, initial_alphabet=_alphabet(), end_of_word_suffix=word_end, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)


def _alphabet() -> list[str]:
    return sorted(ByteLevel.alphabet())


def _clip_alphabet() -> Iterator[str]:
    """Each byte within a word and at its end, so that any text can be spelled."""
    yield from _alphabet()
    yield from (byte + _WORD_END for byte in _alphabet())
