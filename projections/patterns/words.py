"""Findings in words."""

from projections.patterns.finding import Finding
from projections.patterns.search import Patterns

P_LEAST = 1e-12
"""Below that a number says no more than that it is small."""


def conclusion(found: Patterns) -> str:
    failures = f"{found.failures:,} failure{'' if found.failures == 1 else 's'}"
    if not found.tried:
        return f"{failures} of workers, too few for a pattern"
    tried = f"{found.tried:,} thing{'' if found.tried == 1 else 's'} tried"
    if not found.findings:
        return f"no pattern in {failures} of workers ({tried})"
    number = len(found.findings)
    return f"{number} pattern{'' if number == 1 else 's'} in {failures} of workers ({tried}), the surest first"


def chance_of(finding: Finding) -> str:
    return f"p {_p(finding.p)}, and {_p(finding.p_adjusted)} for all that was tried"


def _p(value: float) -> str:
    return f"< {P_LEAST:g}" if value < P_LEAST else f"= {value:.2g}"
