"""What this machine has, part by part."""
