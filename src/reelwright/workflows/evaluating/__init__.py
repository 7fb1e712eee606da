"""What is evaluated, and what it came to."""
