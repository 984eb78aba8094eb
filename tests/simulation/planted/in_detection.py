"""Mistakes in the judgement of silence."""

from tests.simulation.planted.bug import Bug, bug

DETECTION: tuple[Bug, ...] = (
    bug(
        "rules-assumed-known",
        "A worker's silence is judged by the rules in force, whether or not it can have heard of them.",
        (
            "recovery.state:State.detector",
            "known = worker.incarnation if beat is None else max(worker.incarnation, beat.rules)",
            "known = newest",
        ),
    ),
    bug(
        "pace-lost-with-policy",
        "A change of policy forgets the pace, by which the workers go on living.",
        (
            "recovery.evolve_system:policy_changed",
            "_change_rules(state, recorded.sequence, state.rules.stretch)",
            "_change_rules(state, recorded.sequence, 1.0)",
        ),
    ),
    bug(
        "doubt-dies-with-its-leader",
        "A new leader for whom a witness speaks counts silence from before the moment at which its predecessor had "
        "reason to doubt its own eyes.",
        (
            "recovery.decide_watch:_continuation",
            "since=utc(max(since, state.distrusted_until)), witness=worker_id, heartbeat_sequence=beat.sequence",
            "since=utc(since), witness=worker_id, heartbeat_sequence=beat.sequence",
        ),
        (
            "recovery.evolve_system:watch_continued",
            "state.watched_since = min(state.taken_over, max(seconds(event.since), state.distrusted_until))",
            "state.watched_since = min(state.taken_over, seconds(event.since))",
        ),
    ),
)
