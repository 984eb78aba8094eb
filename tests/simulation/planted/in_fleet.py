"""Mistakes about the farm as a whole: who gets no work, how much is repaired at once, and when no more is tried."""

from tests.simulation.planted.bug import Bug, bug

FLEET: tuple[Bug, ...] = (
    bug(
        "cordoned-gets-work",
        "A cordoned worker counts as available, since it lives and beats.",
        (
            "recovery.indexes:takes_work",
            'return worker.status == "alive" and worker.attempt is None and not worker.cordons',
            'return worker.status == "alive" and worker.attempt is None',
        ),
    ),
    bug(
        "share-of-nobody",
        "All failed workers are repaired at once: the room is reckoned, and those under repair are not taken off.",
        (
            "recovery.decide_repairs:owed_to_repairs",
            "room = repairs_max(state) - len(state.repairing)",
            "room = repairs_max(state)",
        ),
    ),
    bug(
        "stage-not-awaited",
        "Behind a mass loss the next stage of repairs begins without waiting for the one before.",
        ("recovery.decide_repairs:_staged", "stage = open_stage(outage)", "stage = None"),
    ),
    bug(
        "mass-loss-charged",
        "A task pays for the loss of its worker, however many were lost with it.",
        (
            "recovery.outages:spares",
            "return before and task.spared < SPARED_MAX and lost_together(state, task.worker_id)",
            "return False",
        ),
    ),
    bug(
        "outage-charged",
        "A task that its worker stopped pays for that, even if the broker was away from everybody.",
        (
            "recovery.outages:spares_fenced",
            "return returned is not None and task.assigned_sequence < returned.sequence and task.spared < SPARED_MAX",
            "return False",
        ),
    ),
    bug(
        "outage-closed-at-once",
        "An outage of the broker is over when it is back, whoever may still be found to have died in it.",
        (
            "recovery.decide_system:_broker_outage",
            "if sound and returned is not None and now >= verified_at(state):",
            "if sound and returned is not None:",
        ),
    ),
    bug(
        "standstill-too-early",
        "A queue counts as standing still as soon as nobody has anything, however lately something moved.",
        (
            "recovery.standstill:stalls_at",
            "return max(state.moved_at, state.interrupted_at) + state.policy.queue_stalled_after",
            "return max(state.moved_at, state.interrupted_at)",
        ),
    ),
)
