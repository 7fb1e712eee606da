"""Property tests judge results, never seconds: other tests share the processor."""

from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
