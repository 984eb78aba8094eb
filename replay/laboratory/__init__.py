"""The detector laboratory: what other detectors, or other settings, would have made of recorded heartbeats."""
