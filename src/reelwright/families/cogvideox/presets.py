"""Options by the loss they may cost; `reelwright bench` measures what they do cost. No torch here."""

from reelwright.protocols.presets import PresetTable

PRESETS_OF_FAMILY: PresetTable = {
    "exact": {},
    "balanced": {
        "execution.step_cache": "teacache",
        "execution.step_cache_threshold": 0.2,
        "execution.step_cache_start": 0.25,
        "execution.step_cache_max_skips": 3,
    },
    "fast": {
        "execution.step_cache": "teacache",
        "execution.step_cache_threshold": 0.3,
        "execution.step_cache_max_skips": 5,
    },
}
