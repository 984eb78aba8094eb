"""`resurgam demo`: a suite, a small farm, and what the farm does when parts of it are killed. All of it is real: every
part is a process of its own, every kill is a SIGKILL, and every claim is read from the event log before it is made."""

from coordinator.demo.command import app

__all__ = ["app"]
