"""What a leader does itself to bring a worker back, and the interfaces for others to add to that.

A strategy is what an attempt consists of (entry point group `resurgam.strategies`), a launcher is how the strategy
`replace` starts another process (`resurgam.launchers`). docs/plugins.md shows how to write one.
"""

from coordinator.strategies.interface import Context, Launcher, LaunchOrder, Strategy, StrategyFailed, Unavailable

__all__ = ["Context", "LaunchOrder", "Launcher", "Strategy", "StrategyFailed", "Unavailable"]
