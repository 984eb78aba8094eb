"""The back office of a small online shop."""
