"""Options by the loss they may cost; `reelwright bench` measures what they do cost. No torch here."""

from reelwright.protocols.presets import PresetTable

# No section is decoded alone as well as with its neighbor, which changes less than any step cache does.
_ONCE = {"compatibility.decode_windows": "fewest"}

PRESETS_OF_FAMILY: PresetTable = {
    "exact": {},
    "balanced": {"execution.step_cache": "teacache", "execution.step_cache_threshold": 0.15, **_ONCE},
    "fast": {"execution.step_cache": "teacache", "execution.step_cache_threshold": 0.25, **_ONCE},
}
