"""The shape of what applies an event of one kind to the state."""

from collections.abc import Callable
from typing import Any

from events.envelope import Recorded
from recovery.state import State

Handler = Callable[[State, Recorded, Any], bool]
"""False: the event fitted no row of the tables, or was stale, and changed nothing."""
