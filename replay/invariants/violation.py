"""What is promised, by name, and what it looks like when a log breaks a promise."""

from typing import NamedTuple


class Invariant(NamedTuple):
    promise: str
    advice: str
    """What to do about a violation."""


_DEFECT = "A defect of the deciding program. Keep the log (`resurgam replay export`) and report it with this line."
_WRITER = "Somebody else writes in a coordinator's name, or two systems share a namespace: look at the event's source."
_BROKER = "The broker lost or altered what it had stored. Keep its store, and go back to an archive or a replica."

INVARIANTS: dict[str, Invariant] = {
    "no-gap": Invariant("Every sequence of the log is there, once and in order.", _BROKER),
    "whole-batches": Invariant(
        "A batch of decisions stands in the log whole and in one piece, or not at all.", _BROKER
    ),
    "one-leader": Invariant(
        "Terms strictly increase; every decision is made by the leader elected last, who had seen its own election.",
        _WRITER,
    ),
    "decided-once": Invariant(
        "A decision is made on everything decided before it, and nothing is decided twice.", _DEFECT
    ),
    "reproduced": Invariant("Folding to what a leader had seen and deciding again gives what it recorded.", _DEFECT),
    "one-verdict": Invariant("Every task gets exactly one verdict, and keeps it.", _DEFECT),
    "conservation": Invariant(
        "Tasks submitted = final + queued + isolated + assigned + running + reported and not yet judged, at every "
        "moment.",
        _DEFECT,
    ),
    "assigned-to-alive": Invariant(
        "Work goes only to the present incarnation of a worker that is alive, was heard lately, and is not under "
        "suspicion, repair or an order to end, nor stalled or cordoned.",
        _DEFECT,
    ),
    "one-live-attempt": Invariant(
        "A task is given to the next worker only when the one before has spoken or is over; attempts count 1, 2, 3.",
        _DEFECT,
    ),
    "placement": Invariant(
        "The order holds the work that was submitted, goes to a worker with the labels it requires, and fits its room. "
        "A task is called stranded only if no worker that is expected has them.",
        _DEFECT,
    ),
    "current-result": Invariant(
        "A verdict rests on the word of the present attempt, and says what that said; or on the success of the one "
        "before it, if that came before the present one had started. Other late words change nothing.",
        _DEFECT,
    ),
    "requeued-once": Invariant("An attempt that ended without a verdict is put back once, for a true reason.", _DEFECT),
    "alone": Invariant(
        "What has to run alone does: its worker is set apart for it, has nothing else and gets nothing else.", _DEFECT
    ),
    "quarantine-proven": Invariant(
        "A task is suspected and quarantined for deaths that the log holds, of workers that had it; the last of them "
        "while it ran alone. Or because its work was quarantined before, and that holds still.",
        _DEFECT,
    ),
    "paced": Invariant(
        "The tasks of failed workers are put back no faster than `requeue_rate` allows, beyond one burst.", _DEFECT
    ),
    "cancel-honoured": Invariant(
        "What was cancelled is not started again; nothing is cancelled that nobody cancelled, nor stopped unless it "
        "hangs or has not been begun in time.",
        _DEFECT,
    ),
    "budgets": Invariant(
        "No budget is overdrawn, none is called empty before it is; only attempts that had started pay, and the end "
        "of a worker never costs a verdict retry.",
        _DEFECT,
    ),
    "failed-on-evidence": Invariant(
        "A worker is suspected, refuted and failed on evidence that the streams hold: its supervisor's or a witness's "
        "report, a lost connection, a silence longer than any rules allow that it may live by, a probe not answered. "
        "Judgement is put off by decision only when all live workers are silent, and silence from before an election "
        "counts only if a witness was heard on both sides of it.",
        _DEFECT,
    ),
    "useless-on-evidence": Invariant(
        "Work is taken back, a task called hung and a worker stalled only after their deadlines, and only while the "
        "worker's own heartbeats say that it had nothing left to report; nobody is restarted for failing everything "
        "unless others have passed such work.",
        _DEFECT,
    ),
    "cordons": Invariant(
        "A worker is cordoned by rule only for as many failures with good recoveries as the policy says, for its time, "
        "and never the last one that could do its work; a cordon ends at its time.",
        _DEFECT,
    ),
    "foreseen-on-evidence": Invariant(
        "A failure is foreseen only where a worker's own heartbeats show that something runs out; it is not said again "
        "while the last word is open or fresh, each word is judged once and by what came, and what was often wrong is "
        "not acted on.",
        _DEFECT,
    ),
    "attempts-end": Invariant(
        "One attempt at a time to bring a worker back, in the order scheduled, started, probed; each one ends.", _DEFECT
    ),
    "ladder": Invariant(
        "An attempt climbs the rung that is due against that failure: none that cannot be carried out, none again "
        "before the others were tried, and by the record of all attempts where the policy says so.",
        _DEFECT,
    ),
    "success-proven": Invariant(
        "A worker counts as recovered only when a new incarnation has registered, beats and has answered.", _DEFECT
    ),
    "backoff": Invariant("Attempts wait as the policy says, and begin no earlier than they were scheduled.", _DEFECT),
    "repairs-share": Invariant(
        "No more workers are under repair at once than the policy's share of the expected ones, or one.", _DEFECT
    ),
    "staged-repairs": Invariant(
        "Behind a mass loss nothing is repaired before the tasks of lost workers have been put back; then repairs "
        "begin in stages, each when the one before is over, and twice as large at most if that brought somebody back.",
        _DEFECT,
    ),
    "breaker": Invariant(
        "The breaker opens when so many workers as the policy says were not brought back lately, for its time; while "
        "it is not closed one attempt begins, as a probe; its success closes it, its failure doubles the time.",
        _DEFECT,
    ),
    "operator-obeyed": Invariant(
        "With automatic recovery off, or paused, nothing is repaired or taken away; a worker given up stays so until "
        "re-admitted, and one that was told to end is not brought back.",
        _DEFECT,
    ),
    "one-incident": Invariant(
        "An incident of a kind is opened once, for what the log shows to have happened, and closed by its own id when "
        "that is over.",
        _DEFECT,
    ),
    "status-true": Invariant(
        "The recorded status and pace are what the numbers of workers give under the policy.", _DEFECT
    ),
    "synthetic-marked": Invariant(
        "What is done about a worker, about tasks that it has lost, and about the system because of that carries the "
        "label of its failure if that was made up, and none otherwise.",
        _DEFECT,
    ),
    "at-rest": Invariant(
        "When all is over nobody is left half recovered, and what could not be understood has been reported.", _DEFECT
    ),
    "reported": Invariant("The running system has found no violation itself.", _DEFECT),
}
"""By short name, as `resurgam check` prints it. docs/invariants.md lists them for people."""


class Violation(Exception):
    """One promise, broken by the event at `sequence`. `entity` is a worker's, task's or incident's id, or empty."""

    def __init__(self, invariant: str, sequence: int, entity: str, sentence: str) -> None:
        assert invariant in INVARIANTS, invariant
        super().__init__(invariant, sequence, entity, sentence)
        self.invariant = invariant
        self.sequence = sequence
        self.entity = entity
        self.sentence = sentence

    def __str__(self) -> str:
        about = f" ({self.entity})" if self.entity else ""
        return f"{self.invariant} at {self.sequence}{about}: {self.sentence}"
