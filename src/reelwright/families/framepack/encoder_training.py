"""LLaMA and CLIP as training on captions finds them."""

from reelwright.encoders.clip import ClipText
from reelwright.encoders.llama import LlamaText
from reelwright.encoders.text_learning import learned_clip, learned_llama
from reelwright.families.framepack.checkpoints import fingerprint_parts
from reelwright.families.framepack.config import FramePackCacheText, FramePackTrainEncoders
from reelwright.families.framepack.parts import Parts
from reelwright.protocols.encoder_training import EncoderModel, EncoderTraining

_NAMED = ("model", "offline", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "system_prompt")


def locate_encoders(config: FramePackTrainEncoders) -> EncoderModel:
    """Find both text encoders and their tokenizers. Raises UserError."""
    names = FramePackCacheText(**{name: getattr(config, name) for name in _NAMED})
    parts = Parts(names, wanted=("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    llama = LlamaText(parts.text_encoder, parts.tokenizer)
    clip = ClipText(parts.text_encoder_2, parts.tokenizer_2)
    is_random = config.init == "random"
    for text in (llama, clip):
        text.check_tokenizer() if is_random else text.check()
    return EncoderModel(
        encoders=(learned_llama(llama, config.system_prompt), learned_clip(clip)),
        fingerprints={} if is_random else fingerprint_parts(parts),
    )


ENCODER_TRAINING = EncoderTraining(locate=locate_encoders)
