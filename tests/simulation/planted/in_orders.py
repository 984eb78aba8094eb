"""Mistakes in what is made of operators' orders."""

from tests.simulation.planted.bug import Bug, bug

ORDERS: tuple[Bug, ...] = (
    bug(
        "pause-lifted-by-policy",
        "Whether recovery may act is read from the policy alone, and an operator's pause is only shown.",
        (
            "recovery.state:State.may_repair",
            "return self.pause is None and self.policy.auto_recovery",
            "return self.policy.auto_recovery",
        ),
    ),
    bug(
        "brought-back-against-orders",
        "A worker that was told to end and fails is brought back like any other.",
        (
            "recovery.decide_workers:_retirement",
            'if worker.status != "failed" or not worker.leaving:',
            "if True:",
        ),
    ),
    bug(
        "order-outlives-its-worker",
        "The order to end is not forgotten when somebody registers anew who has not heard of it.",
        (
            "recovery.evolve_worker:_change",
            "worker.leaving = worker.leaving and status in LEAVING",
            "",
        ),
    ),
)
