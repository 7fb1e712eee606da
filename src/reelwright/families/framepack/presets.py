"""Options by the loss they may cost; `reelwright bench` measures what they do cost. No torch here."""

from reelwright.protocols.presets import PresetTable

# Windows of F1's demo decode latents twice that these decode once, and differ less than any step cache.
_ONCE = {"compatibility.decode_windows": "aligned"}

PRESETS_OF_FAMILY: PresetTable = {
    "exact": {},
    "balanced": {"execution.step_cache": "teacache", "execution.step_cache_threshold": 0.15, **_ONCE},
    "fast": {"execution.step_cache": "teacache", "execution.step_cache_threshold": 0.25, **_ONCE},
}
