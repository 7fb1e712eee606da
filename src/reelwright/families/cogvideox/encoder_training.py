"""T5 as training on captions finds it."""

from reelwright.encoders.text_learning import learned_t5
from reelwright.families.cogvideox.cache_parts import find_text_parts
from reelwright.families.cogvideox.config import CogVideoXCacheText, CogVideoXTrainEncoders
from reelwright.protocols.encoder_training import EncoderModel, EncoderTraining

_NAMED = ("model", "offline", "text_encoder", "tokenizer", "text_tokens")


def locate_encoders(config: CogVideoXTrainEncoders) -> EncoderModel:
    """Find the text encoder and its tokenizer. Raises UserError."""
    names = CogVideoXCacheText(**{name: getattr(config, name) for name in _NAMED})
    is_random = config.init == "random"
    parts = find_text_parts(names, with_weights=not is_random)
    return EncoderModel(
        encoders=(learned_t5(parts.text, parts.num_tokens, config.masked_share),),
        fingerprints={} if is_random else parts.fingerprints,
        notices=() if is_random else parts.notices,
    )


ENCODER_TRAINING = EncoderTraining(locate=locate_encoders)
