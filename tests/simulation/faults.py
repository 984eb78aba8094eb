"""What can go wrong in a simulated system: every kind of fault, how often it strikes, and how long it lasts.

`Faults` are chances, `Fault` is one thing that happens at one moment. `schedule.py` draws the second from the first.
All times are virtual seconds.
"""

import enum
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

Bounds = tuple[float, float]
"""Lowest and highest value."""

Aim = Literal["worker", "coordinator", "broker", "projector", "host", "client", "system"]
"""What a kind of fault strikes: a host of that sort; `host`: any of them; `client`: any but the broker's own;
`system`: no one in particular."""

LEADER = "leader"
"""A target among the coordinators: whoever leads at that moment; the first of them while nobody does."""

MOMENT = (0.0, 0.0)


class FaultKind(enum.StrEnum):
    """The value is the name of the field of `Faults` that holds its hazard."""

    AGENT_CRASH = "agent_crash"
    AGENT_HANG = "agent_hang"
    AGENT_SLOW = "agent_slow"
    AGENT_STOP = "agent_stop"
    SUPERVISOR_CRASH = "supervisor_crash"
    SUPERVISOR_HANG = "supervisor_hang"
    SUPERVISOR_SLOW = "supervisor_slow"
    WORKER_CRASH = "worker_crash"
    WORKER_HANG = "worker_hang"
    WORKER_SLOW = "worker_slow"
    WORKER_RESTART = "worker_restart"
    COORDINATOR_CRASH = "coordinator_crash"
    COORDINATOR_HANG = "coordinator_hang"
    COORDINATOR_SLOW = "coordinator_slow"
    COORDINATOR_RESTART = "coordinator_restart"
    LEADER_PAUSE = "leader_pause"
    TWO_LEADERS = "two_leaders"
    BROKER_CRASH = "broker_crash"
    BROKER_HANG = "broker_hang"
    BROKER_RESTART = "broker_restart"
    BROKER_POWER_LOSS = "broker_power_loss"
    BROKER_READ_ONLY = "broker_read_only"
    LOG_FULL = "log_full"
    PROJECTOR_CRASH = "projector_crash"
    PROJECTOR_HANG = "projector_hang"
    PROJECTOR_RESTART = "projector_restart"
    HOST_POWER_LOSS = "host_power_loss"
    MASS_LOSS = "mass_loss"
    PARTITION = "partition"
    PARTITION_IN = "partition_in"
    PARTITION_OUT = "partition_out"
    FLAPPING = "flapping"
    DELAY_SPIKE = "delay_spike"
    CONNECTION_RESET = "connection_reset"
    LOST_ASSIGNMENT = "lost_assignment"
    CLOCK_SKEW = "clock_skew"
    CLOCK_STEP = "clock_step"
    TASK_POISONS_AGENT = "task_poisons_agent"
    TASK_POISONS_WORKER = "task_poisons_worker"
    TASK_HANGS = "task_hangs"
    TASK_FAILS = "task_fails"
    FORGED_EVENT = "forged_event"
    MALFORMED_EVENT = "malformed_event"
    UNKNOWN_EVENT = "unknown_event"
    DUPLICATE_EVENT = "duplicate_event"
    POLICY_CHANGE = "policy_change"
    OPERATOR_DRAIN = "operator_drain"
    OPERATOR_CANCEL_RUN = "operator_cancel_run"
    OPERATOR_CANCEL_TASK = "operator_cancel_task"
    OPERATOR_PAUSE_RECOVERY = "operator_pause_recovery"
    OPERATOR_SYNTHETIC_FAILURE = "operator_synthetic_failure"
    OPERATOR_RESTART = "operator_restart"
    OPERATOR_READMIT = "operator_readmit"
    ASSIGNMENT_SWALLOWED = "assignment_swallowed"
    SLOTS_STUCK = "slots_stuck"
    ORDERS_UNHEARD = "orders_unheard"
    EVERYTHING_FAILS = "everything_fails"
    SECOND_PROCESS = "second_process"
    SNAPSHOT_LOST = "snapshot_lost"
    SNAPSHOT_CORRUPT = "snapshot_corrupt"
    SNAPSHOT_STALE = "snapshot_stale"
    OPERATOR_ORDERS_END = "operator_orders_end"
    OPERATOR_ORDERS_RESTART = "operator_orders_restart"
    OPERATOR_HALTS_RECOVERY = "operator_halts_recovery"
    OPERATOR_CORDON = "operator_cordon"
    MEMORY_LEAK = "memory_leak"
    DISK_FILLS = "disk_fills"


class Wave(NamedTuple):
    """Kinds that came after seeds had been drawn: they are drawn apart, from generators that bear the wave's name, and
    only take the place of some of the faults that there were before."""

    name: str
    kinds: tuple[FaultKind, ...]
    chance: float
    """Of each of its kinds: that a seed has it."""


WAVES = (
    Wave(
        "later",
        (
            FaultKind.ASSIGNMENT_SWALLOWED,
            FaultKind.SLOTS_STUCK,
            FaultKind.ORDERS_UNHEARD,
            FaultKind.EVERYTHING_FAILS,
        ),
        chance=0.5,
    ),
    # The number keeps the seeds clear of it by which docs/simulator.md shows other mistakes.
    Wave("second process 268", (FaultKind.SECOND_PROCESS,), chance=0.35),
    Wave(
        "snapshots",
        (FaultKind.SNAPSHOT_LOST, FaultKind.SNAPSHOT_CORRUPT, FaultKind.SNAPSHOT_STALE),
        chance=0.3,
    ),
    Wave(
        "orders",
        (
            FaultKind.OPERATOR_ORDERS_END,
            FaultKind.OPERATOR_ORDERS_RESTART,
            FaultKind.OPERATOR_HALTS_RECOVERY,
        ),
        chance=0.3,
    ),
    Wave("cordons", (FaultKind.OPERATOR_CORDON,), chance=0.4),
    Wave("leaks", (FaultKind.MEMORY_LEAK, FaultKind.DISK_FILLS), chance=0.3),
)


class Nature(NamedTuple):
    """What a kind of fault is, apart from how often it strikes."""

    aim: Aim
    meaning: str
    """Of what happens at `at`, what `duration_s` and `magnitude` say."""


NATURES: dict[FaultKind, Nature] = {
    FaultKind.AGENT_CRASH: Nature("worker", "SIGKILL to the agent; its supervisor reaps it"),
    FaultKind.AGENT_HANG: Nature("worker", "SIGSTOP to the agent, SIGCONT after duration"),
    FaultKind.AGENT_SLOW: Nature("worker", "for duration the agent runs only `magnitude` of the time"),
    FaultKind.AGENT_STOP: Nature("worker", "SIGTERM to the agent, which ends in order"),
    FaultKind.SUPERVISOR_CRASH: Nature("worker", "SIGKILL to the supervisor alone; started again after duration"),
    FaultKind.SUPERVISOR_HANG: Nature("worker", "SIGSTOP to the supervisor alone, SIGCONT after duration"),
    FaultKind.SUPERVISOR_SLOW: Nature("worker", "for duration the supervisor runs only `magnitude` of the time"),
    FaultKind.WORKER_CRASH: Nature("worker", "SIGKILL to supervisor and agent; started again after duration"),
    FaultKind.WORKER_HANG: Nature("worker", "SIGSTOP to supervisor and agent, SIGCONT after duration"),
    FaultKind.WORKER_SLOW: Nature("worker", "for duration both run only `magnitude` of the time"),
    FaultKind.WORKER_RESTART: Nature("worker", "SIGTERM to the worker, which ends in order; started after duration"),
    FaultKind.COORDINATOR_CRASH: Nature("coordinator", "SIGKILL; started again after duration"),
    FaultKind.COORDINATOR_HANG: Nature("coordinator", "SIGSTOP, SIGCONT after duration"),
    FaultKind.COORDINATOR_SLOW: Nature("coordinator", "for duration it runs only `magnitude` of the time"),
    FaultKind.COORDINATOR_RESTART: Nature("coordinator", "SIGTERM, ends in order; started again after duration"),
    FaultKind.LEADER_PAUSE: Nature("coordinator", "SIGSTOP to the leader for duration, which is past its lease"),
    FaultKind.TWO_LEADERS: Nature(
        "coordinator",
        "SIGSTOP to the leader until another one is elected, or duration is over; then SIGCONT in that same moment",
    ),
    FaultKind.BROKER_CRASH: Nature("broker", "SIGKILL; started again after duration with all that it had stored"),
    FaultKind.BROKER_HANG: Nature("broker", "SIGSTOP, SIGCONT after duration"),
    FaultKind.BROKER_RESTART: Nature("broker", "ends in order; started again after duration"),
    FaultKind.BROKER_POWER_LOSS: Nature("broker", "what was not synced is lost; started again after duration"),
    FaultKind.BROKER_READ_ONLY: Nature("broker", "accepts no writes for duration; reads go on"),
    FaultKind.LOG_FULL: Nature("broker", "the stream EVENTS takes nothing more for duration"),
    FaultKind.PROJECTOR_CRASH: Nature(
        "projector", "SIGKILL after `magnitude` more turns of its loop; started again after duration"
    ),
    FaultKind.PROJECTOR_HANG: Nature("projector", "SIGSTOP, SIGCONT after duration"),
    FaultKind.PROJECTOR_RESTART: Nature("projector", "SIGTERM, ends in order; started again after duration"),
    FaultKind.HOST_POWER_LOSS: Nature("host", "everything on the host dies at once; it boots after duration"),
    FaultKind.MASS_LOSS: Nature("system", "the share `magnitude` of all workers loses power; they boot after duration"),
    FaultKind.PARTITION: Nature("client", "cut off in both directions for duration"),
    FaultKind.PARTITION_IN: Nature("client", "for duration it hears nothing; what it says arrives"),
    FaultKind.PARTITION_OUT: Nature("client", "for duration it is not heard; what is said to it arrives"),
    FaultKind.FLAPPING: Nature("client", "for duration cut off and healed in turn, `magnitude` seconds each"),
    FaultKind.DELAY_SPIKE: Nature("client", "for duration every message takes up to `magnitude` seconds longer"),
    FaultKind.CONNECTION_RESET: Nature("client", "its connections are reset; what was under way is lost"),
    FaultKind.LOST_ASSIGNMENT: Nature("worker", "cut off for duration from the moment of its next assignment on"),
    FaultKind.CLOCK_SKEW: Nature("host", "its wall clock is `magnitude` seconds off for duration"),
    FaultKind.CLOCK_STEP: Nature("host", "its wall clock steps by `magnitude` seconds, for good"),
    FaultKind.TASK_POISONS_AGENT: Nature("system", "a task is submitted that kills the agent that runs it"),
    FaultKind.TASK_POISONS_WORKER: Nature("system", "a task is submitted that kills supervisor and agent"),
    FaultKind.TASK_HANGS: Nature("system", "a task is submitted that never ends; its time limit is `magnitude`"),
    FaultKind.TASK_FAILS: Nature("system", "a task is submitted whose every attempt fails"),
    FaultKind.FORGED_EVENT: Nature("system", "somebody writes a well-formed event that is not true"),
    FaultKind.MALFORMED_EVENT: Nature("system", "bytes that are no event appear in the log"),
    FaultKind.UNKNOWN_EVENT: Nature("system", "an event of a kind that nobody knows appears in the log"),
    FaultKind.DUPLICATE_EVENT: Nature("system", "an event that is in the log already is published again under its id"),
    FaultKind.POLICY_CHANGE: Nature("system", "another policy comes into force"),
    FaultKind.OPERATOR_DRAIN: Nature("worker", "the operator drains it"),
    FaultKind.OPERATOR_CANCEL_RUN: Nature("system", "the operator cancels a run"),
    FaultKind.OPERATOR_CANCEL_TASK: Nature("system", "the operator cancels a task"),
    FaultKind.OPERATOR_PAUSE_RECOVERY: Nature("system", "automatic recovery is switched off for duration"),
    FaultKind.OPERATOR_SYNTHETIC_FAILURE: Nature("worker", "the operator injects a made-up failure of it"),
    FaultKind.OPERATOR_RESTART: Nature("worker", "the operator restarts it by hand: stop, and start after duration"),
    FaultKind.OPERATOR_READMIT: Nature("worker", "the operator re-admits it, whatever its state"),
    FaultKind.ASSIGNMENT_SWALLOWED: Nature("worker", "its agent forgets the next assignment that it reads"),
    FaultKind.SLOTS_STUCK: Nature("worker", "for duration its agent begins nothing of what it has"),
    FaultKind.ORDERS_UNHEARD: Nature("worker", "for duration its agent beats on and hears no order"),
    FaultKind.EVERYTHING_FAILS: Nature(
        "worker", "for duration whatever its machine runs fails at once, or never begins"
    ),
    FaultKind.OPERATOR_CORDON: Nature("worker", "the operator cordons it for duration"),
    FaultKind.SECOND_PROCESS: Nature("worker", "another process is started under its id, mostly on another machine"),
    FaultKind.SNAPSHOT_LOST: Nature("system", "one message of a snapshot is gone, in silence"),
    FaultKind.SNAPSHOT_CORRUPT: Nature("system", "one bit flips in a message of a snapshot"),
    FaultKind.SNAPSHOT_STALE: Nature("system", "all snapshots but the oldest are gone"),
    FaultKind.OPERATOR_ORDERS_END: Nature(
        "worker", "it is told through the log to drain and end; started again after duration"
    ),
    FaultKind.OPERATOR_ORDERS_RESTART: Nature("worker", "it is told through the log to drain and begin anew"),
    FaultKind.OPERATOR_HALTS_RECOVERY: Nature("system", "recovery is paused by an event, and resumed after duration"),
    FaultKind.MEMORY_LEAK: Nature(
        "worker",
        "for duration memory is taken, all of it in `magnitude` seconds; without any its agent is killed",
    ),
    FaultKind.DISK_FILLS: Nature("worker", "for duration its disk fills, all of it in `magnitude` seconds"),
}
"""In cases of several victims (which task, which event, which policy) `Fault.choice` decides."""


class Hazard(msgspec.Struct, frozen=True, omit_defaults=True):
    """How often a kind of fault strikes (events an hour in the whole system), and how hard.

    Durations are drawn log-uniformly, since what lasts 50 ms, 2 s and 40 s tests three different things; magnitudes
    uniformly.
    """

    per_hour: Annotated[float, Meta(ge=0)] = 1.0
    duration_s: Bounds = MOMENT
    magnitude: Bounds = MOMENT


BLINK = (0.05, 5.0)
OUTAGE = (0.2, 60.0)
"""On both sides of suspicion (6 s), self-fencing (12 s) and failure (15 s)."""
STUCK = (5.0, 60.0)
"""On both sides of the deadlines for beginning work and for obeying orders (10 s, and 5 s more)."""
REBOOT = (0.5, 45.0)
LEAK = (40.0, 300.0)
"""On both sides of how long a trend must have gone on, and of how far ahead it is followed."""
HARDLY = (0.02, 0.6)
"""Shares of time that a slow process runs."""


class Faults(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The chance of every kind of fault. The defaults are those of a very bad day: about 100 an hour."""

    agent_crash: Hazard = Hazard(6)
    agent_hang: Hazard = Hazard(4, duration_s=OUTAGE)
    agent_slow: Hazard = Hazard(3, duration_s=OUTAGE, magnitude=HARDLY)
    agent_stop: Hazard = Hazard(2)
    supervisor_crash: Hazard = Hazard(3, duration_s=REBOOT)
    supervisor_hang: Hazard = Hazard(3, duration_s=OUTAGE)
    supervisor_slow: Hazard = Hazard(1, duration_s=OUTAGE, magnitude=HARDLY)
    worker_crash: Hazard = Hazard(4, duration_s=REBOOT)
    worker_hang: Hazard = Hazard(4, duration_s=OUTAGE)
    worker_slow: Hazard = Hazard(2, duration_s=OUTAGE, magnitude=HARDLY)
    worker_restart: Hazard = Hazard(3, duration_s=REBOOT)
    coordinator_crash: Hazard = Hazard(4, duration_s=REBOOT)
    coordinator_hang: Hazard = Hazard(3, duration_s=OUTAGE)
    coordinator_slow: Hazard = Hazard(1, duration_s=OUTAGE, magnitude=HARDLY)
    coordinator_restart: Hazard = Hazard(2, duration_s=REBOOT)
    leader_pause: Hazard = Hazard(3, duration_s=(1.5, 20.0))
    two_leaders: Hazard = Hazard(3, duration_s=(10.0, 30.0))
    broker_crash: Hazard = Hazard(2, duration_s=(0.1, 30.0))
    broker_hang: Hazard = Hazard(1, duration_s=(0.1, 30.0))
    broker_restart: Hazard = Hazard(1, duration_s=(0.1, 10.0))
    broker_power_loss: Hazard = Hazard(1, duration_s=REBOOT)
    broker_read_only: Hazard = Hazard(1, duration_s=(0.1, 30.0))
    log_full: Hazard = Hazard(1, duration_s=(0.1, 30.0))
    projector_crash: Hazard = Hazard(3, duration_s=BLINK, magnitude=(0, 200))
    projector_hang: Hazard = Hazard(1, duration_s=OUTAGE)
    projector_restart: Hazard = Hazard(1, duration_s=BLINK)
    host_power_loss: Hazard = Hazard(2, duration_s=REBOOT)
    mass_loss: Hazard = Hazard(1, duration_s=REBOOT, magnitude=(0.3, 1.0))
    partition: Hazard = Hazard(5, duration_s=OUTAGE)
    partition_in: Hazard = Hazard(3, duration_s=OUTAGE)
    partition_out: Hazard = Hazard(3, duration_s=OUTAGE)
    flapping: Hazard = Hazard(2, duration_s=OUTAGE, magnitude=(0.1, 8.0))
    delay_spike: Hazard = Hazard(3, duration_s=OUTAGE, magnitude=(0.05, 5.0))
    connection_reset: Hazard = Hazard(4)
    lost_assignment: Hazard = Hazard(3, duration_s=BLINK)
    clock_skew: Hazard = Hazard(2, duration_s=OUTAGE, magnitude=(-120.0, 120.0))
    clock_step: Hazard = Hazard(2, magnitude=(-30.0, 30.0))
    task_poisons_agent: Hazard = Hazard(1)
    task_poisons_worker: Hazard = Hazard(1)
    task_hangs: Hazard = Hazard(2, magnitude=(1.0, 15.0))
    task_fails: Hazard = Hazard(2)
    forged_event: Hazard = Hazard(2)
    malformed_event: Hazard = Hazard(1)
    unknown_event: Hazard = Hazard(1)
    duplicate_event: Hazard = Hazard(2)
    policy_change: Hazard = Hazard(1)
    operator_drain: Hazard = Hazard(2)
    operator_cancel_run: Hazard = Hazard(0.5)
    operator_cancel_task: Hazard = Hazard(2)
    operator_pause_recovery: Hazard = Hazard(1, duration_s=OUTAGE)
    operator_synthetic_failure: Hazard = Hazard(2)
    operator_restart: Hazard = Hazard(1, duration_s=BLINK)
    operator_readmit: Hazard = Hazard(1)
    assignment_swallowed: Hazard = Hazard(2)
    slots_stuck: Hazard = Hazard(3, duration_s=STUCK)
    orders_unheard: Hazard = Hazard(4, duration_s=STUCK)
    everything_fails: Hazard = Hazard(2, duration_s=OUTAGE)
    second_process: Hazard = Hazard(10)
    snapshot_lost: Hazard = Hazard(4)
    snapshot_corrupt: Hazard = Hazard(4)
    snapshot_stale: Hazard = Hazard(4)
    operator_orders_end: Hazard = Hazard(2, duration_s=BLINK)
    operator_orders_restart: Hazard = Hazard(3)
    operator_halts_recovery: Hazard = Hazard(2, duration_s=OUTAGE)
    operator_cordon: Hazard = Hazard(8, duration_s=OUTAGE)
    memory_leak: Hazard = Hazard(20, duration_s=LEAK, magnitude=LEAK)
    disk_fills: Hazard = Hazard(5, duration_s=LEAK, magnitude=LEAK)

    together: Annotated[float, Meta(ge=0, lt=1)] = 0.2
    """The share of all faults that come within moments of another one."""

    def of(self, kind: FaultKind) -> Hazard:
        hazard: Hazard = getattr(self, kind.value)
        return hazard


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that goes wrong: what, when, to whom, for how long."""

    at: float
    kind: FaultKind
    target: str = ""
    """A host (`worker-2`, `coordinator-1`, `broker`, `projector`) or `LEADER`; empty where the system is meant."""
    duration_s: float = 0.0
    magnitude: float = 0.0
    choice: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Picks one of however many there are at that moment: index `int(choice * count)`."""

    def sentence(self) -> str:
        """`12.345  partition  worker-2  for 3.2 s`"""
        parts = [f"{self.at:9.3f}  {self.kind.value:<26}", f"{self.target:<13}"]
        if self.duration_s:
            parts.append(f"for {self.duration_s:g} s")
        if self.magnitude:
            parts.append(f"magnitude {self.magnitude:g}")
        return "  ".join(parts).rstrip()


Schedule = tuple[Fault, ...]
"""In order of `at`."""
