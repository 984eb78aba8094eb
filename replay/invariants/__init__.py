"""What the system promises, as a checker over the recorded events.

    checker = Checker()
    for recorded in log: checker.feed(recorded)
    checker.violations

That projection tables equal a rebuild from the log is checked where the tables are (`projections.verify`).
"""

from replay.invariants.checker import Checker
from replay.invariants.violation import INVARIANTS, Invariant, Violation

__all__ = ["INVARIANTS", "Checker", "Invariant", "Violation"]
