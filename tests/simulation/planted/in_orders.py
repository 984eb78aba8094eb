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
        "resumed-and-asleep",
        "When recovery is resumed nobody looks again at who is owed something.",
        (
            "recovery.evolve_system:resumed",
            """
            state.pause = None
            _index_all_workers(state)
            """,
            "state.pause = None",
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
        "ended-instead-of-anew",
        "A worker that was told to begin anew says that it has stopped, and its supervisor ends with its agent.",
        (
            "worker.agent:Agent._obey_order",
            "self._anew = order.restart if self._drain is None else self._anew and order.restart",
            "self._anew = False",
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
