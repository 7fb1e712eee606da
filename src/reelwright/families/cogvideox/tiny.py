"""Write small models in the released folder layout, with random weights: for tests, and to train from.

python -m reelwright.families.cogvideox.tiny FOLDER
writes what the embedded `tiny` was trained from.
"""

import re
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import sentencepiece
import torch
from transformers import T5Config, T5EncoderModel

from reelwright.checkpoint.safetensors_io import save_sharded
from reelwright.checkpoint.settings_files import write_json
from reelwright.data.synthetic.scene_captions import scene_captions
from reelwright.data.synthetic.simple_captions import simple_captions
from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.autoencoder_training import described_autoencoder
from reelwright.families.cogvideox.config import AutoencoderConfig, SchedulerConfig, TransformerConfig
from reelwright.families.cogvideox.key_maps import DIFFUSERS_AUTOENCODER, DIFFUSERS_TRANSFORMER
from reelwright.families.cogvideox.transformer import CogVideoXTransformer

TINY_TRANSFORMER = TransformerConfig(
    num_layers=2,
    num_attention_heads=2,
    time_embed_dim=64,
    text_embed_dim=64,
    max_text_seq_length=64,
    sample_height=16,
    sample_width=16,
    sample_frames=17,
    use_rotary_positional_embeddings=True,
)
TINY_AUTOENCODER = AutoencoderConfig(
    block_out_channels=(16, 16, 32, 32),
    layers_per_block=1,
    norm_num_groups=8,
    scaling_factor=0.7,
    sample_height=128,
    sample_width=128,
)
_VOCABULARY = 600

TRAINED_TRANSFORMER = replace(
    TINY_TRANSFORMER,
    num_layers=6,
    num_attention_heads=6,
    attention_head_dim=32,
    time_embed_dim=32,
    text_embed_dim=96,
    max_text_seq_length=32,
    sample_height=12,
    sample_width=12,
)
TRAINED_AUTOENCODER = replace(
    TINY_AUTOENCODER,
    block_out_channels=(16, 32, 64, 64),
    sample_height=96,
    sample_width=96,
    scaling_factor=1.0,
)
_NUM_SCENES = 6000


def write_model(
    folder: Path,
    *,
    transformer: TransformerConfig = TINY_TRANSFORMER,
    autoencoder: AutoencoderConfig = TINY_AUTOENCODER,
    scheduler: SchedulerConfig | None = None,
    dtype: torch.dtype = torch.float16,
    seed: int = 0,
    whole_words: bool = False,
) -> None:
    """Write all parts of a model with random weights. The same arguments give the same bytes.

    whole_words: make every word of synthetic captions one token, which is easier to learn from.
    """
    num_tokens = _write_tokenizer(folder / "tokenizer", transformer.max_text_seq_length, whole_words)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = CogVideoXTransformer(transformer).to(dtype)
        pixels = CogVideoXAutoencoder(autoencoder).to(dtype)
        text_encoder = _text_encoder(transformer.text_embed_dim, num_tokens)
    save_sharded(folder / "transformer", DIFFUSERS_TRANSFORMER.to_file(denoiser.state_dict()))
    save_sharded(folder / "vae", DIFFUSERS_AUTOENCODER.to_file(pixels.state_dict()))
    text_weights = text_encoder.state_dict()
    weights = {name: text_weights[name].to(dtype) for name in text_weights if "embed_tokens" not in name}
    save_sharded(folder / "text_encoder", weights, stem="model")
    write_json(folder / "transformer" / "config.json", transformer.to_json("CogVideoXTransformer3DModel"))
    write_json(folder / "vae" / "config.json", described_autoencoder(autoencoder))
    write_json(folder / "text_encoder" / "config.json", text_encoder.config.to_diff_dict())
    schedule = (scheduler or SchedulerConfig()).to_json("CogVideoXDPMScheduler")
    write_json(folder / "scheduler" / "scheduler_config.json", schedule)
    write_json(folder / "model_index.json", _INDEX)
    write_json(folder / "reelwright.json", {"weights": "random"})


_INDEX = {
    "_class_name": "CogVideoXPipeline",
    "scheduler": ["diffusers", "CogVideoXDPMScheduler"],
    "text_encoder": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "T5Tokenizer"],
    "transformer": ["diffusers", "CogVideoXTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLCogVideoX"],
}


def _text_encoder(width: int, num_tokens: int) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=num_tokens,
            d_model=width,
            d_kv=width // 4,
            d_ff=2 * width,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
        )
    )


def _write_tokenizer(folder: Path, max_tokens: int, whole_words: bool) -> int:
    """A sentencepiece model of captions; whatever it does not know it spells in bytes.

    Returns how many tokens an encoder should have room for.
    """
    captions = list(scene_captions(_NUM_SCENES, seed=1) if whole_words else simple_captions())
    words = sorted({word for text in captions for word in re.findall("[A-Za-z]+", f"{text} {text.lower()}")})
    model = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(captions),
        model_writer=model,
        vocab_size=_VOCABULARY,
        user_defined_symbols=[f"\u2581{word}" for word in words] if whole_words else [],
        hard_vocab_limit=False,
        byte_fallback=True,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        pad_piece="<pad>",
        eos_piece="</s>",
        unk_piece="<unk>",
        num_threads=1,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(model.getvalue())
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": max_tokens}
    write_json(folder / "tokenizer_config.json", settings)
    return _VOCABULARY + 8


if __name__ == "__main__":
    write_model(
        Path(sys.argv[1]),
        transformer=TRAINED_TRANSFORMER,
        autoencoder=TRAINED_AUTOENCODER,
        dtype=torch.float32,
        whole_words=True,
    )
