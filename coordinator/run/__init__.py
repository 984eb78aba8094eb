"""`resurgam run`: one suite, on workers of its own, to one verdict per test, whatever happens to the workers."""

from coordinator.run.command import app

__all__ = ["app"]
