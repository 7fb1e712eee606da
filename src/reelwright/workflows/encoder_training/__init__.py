"""Training text encoders on captions."""
