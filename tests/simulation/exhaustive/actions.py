"""Everything that may happen next. An action is a verb with its arguments; each says whether it can happen now, does
it, and says whether that changed anything.

Workers are honest about what they did, and nothing else can be relied on: reports come late, out of turn between
workers, after their incarnation is over, or never; agents die at any moment, silently or seen; workers register again
when they like, also over themselves.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from events.system import CoordinatorStopped, PolicyChanged
from events.task import Outcome
from tests.simulation.exhaustive.facts import (
    Done,
    answer,
    answer_late,
    beat,
    beat_deaf,
    beat_laden,
    beat_late,
    cancel,
    cancel_run,
    condemn,
    cordon,
    disconnect,
    disconnect_late,
    drain,
    exit_late,
    exit_seen,
    exit_unregistered,
    finish,
    forget,
    give_back,
    lift,
    order_end,
    order_restart,
    pass_late,
    pause,
    readmit,
    register,
    start,
    start_late,
    stop,
    stop_late,
    submit,
    uncordon,
    vanish,
    vanish_late,
)
from tests.simulation.exhaustive.world import (
    BACK,
    FORTH,
    LEADING,
    POLICIES,
    POLICY_HASHES,
    POLICY_NAMES,
    TASKS,
    UNIT,
    WORKERS,
    World,
    degraded,
)


class Seat(int):
    """A coordinator, by its place in the encoding."""


class Action(NamedTuple):
    verb: Callable[..., Done]
    arguments: tuple[Any, ...] = ()

    def play(self, world: World) -> Done:
        """Does it, and lets a prompt leader answer.

        Raises:
            Violation: something does not hold any more.
        """
        done: Done = self.verb(world, *self.arguments)
        if done:
            world.settle()
        return done

    @property
    def name(self) -> str:
        return self.told(self.arguments)

    def told(self, arguments: Iterable[object]) -> str:
        return " ".join([self.verb.__name__.replace("_", " "), *map(str, arguments)])


def elect(world: World, seat: Seat) -> Done:
    coordinator = world.coordinators[seat]
    if coordinator.role != "standby":
        return None
    world.elect(coordinator)
    return True


def elect_slow(world: World, seat: Seat) -> Done:
    """Elected, it folds as far as that and goes no further for the time being."""
    coordinator = world.coordinators[seat]
    if coordinator.role != "standby":
        return None
    world.elect(coordinator)
    coordinator.become("held", coordinator.token, view=world.look())
    return True


def crash(world: World, seat: Seat) -> Done:
    """A batch that it has sent may arrive yet."""
    coordinator = world.coordinators[seat]
    if coordinator.role not in LEADING:
        return None
    if coordinator.batch is None:
        coordinator.become("standby")
    else:
        coordinator.become("crashed", coordinator.token, batch=coordinator.batch)
    return True


def step_down(world: World, seat: Seat) -> Done:
    """Also of a standby, which says the same words when it ends."""
    coordinator = world.coordinators[seat]
    if coordinator.role not in ("prompt", "held", "standby"):
        return None
    changed = coordinator.role != "standby"
    coordinator.become("standby")
    return world.record(CoordinatorStopped(coordinator_id=coordinator.coordinator_id)) or changed


def hold(world: World, seat: Seat) -> Done:
    coordinator = world.coordinators[seat]
    if coordinator.role != "prompt":
        return None
    coordinator.become("held", coordinator.token, view=world.look())
    return True


def resume(world: World, seat: Seat) -> Done:
    coordinator = world.coordinators[seat]
    if coordinator.role != "held":
        return None
    coordinator.become("prompt", coordinator.token)
    return True


def doubt(world: World, seat: Seat) -> Done:
    """Its own eyes are not to be trusted, by what the consumer has found: that is said, and decided on later."""
    coordinator = world.coordinators[seat]
    if coordinator.role not in ("prompt", "held"):
        return None
    known = world.state if coordinator.view is None else coordinator.view.state
    world.record(degraded("own_pause", known.heartbeats_sequence))
    if coordinator.role == "held":
        coordinator.become("held", coordinator.token, view=world.look())
    return True


def decide_on_old_view(world: World, seat: Seat) -> Done:
    coordinator = world.coordinators[seat]
    if coordinator.role != "held":
        return None
    batch = world.owed(coordinator.view)
    if not batch:
        return None
    coordinator.become("deciding", coordinator.token, batch=batch)
    return True


def decide_on_new_view(world: World, seat: Seat) -> Done:
    coordinator = world.coordinators[seat]
    if coordinator.role != "held":
        return None
    batch = world.owed()
    if not batch:
        return None
    coordinator.become("deciding", coordinator.token, batch=batch)
    return True


def read_beats(world: World, seat: Seat) -> Done:
    coordinator = world.coordinators[seat]
    view = coordinator.view
    if coordinator.role != "held" or view is None or world.all_read(view):
        return None
    world.read_beats(view)
    return True


def read_events(world: World, seat: Seat) -> Done:
    coordinator = world.coordinators[seat]
    if coordinator.role != "held" or coordinator.view is None:
        return None
    coordinator.become("held", coordinator.token, view=world.read_events(coordinator.view))
    return True


def append(world: World, seat: Seat) -> Done:
    """The batch reaches the log. Whoever sent it and lives reads back as far as that, or learns that it is deposed."""
    coordinator = world.coordinators[seat]
    if coordinator.batch is None:
        return None
    counted = world.append(coordinator.batch, coordinator.token)
    if counted is not None and coordinator.role == "deciding":
        coordinator.become("held", coordinator.token, view=world.look())
    else:
        coordinator.become("standby")
    return True


def lose(world: World, seat: Seat) -> Done:
    """The batch of a process that crashed has never arrived."""
    coordinator = world.coordinators[seat]
    if coordinator.role != "crashed":
        return None
    coordinator.become("standby")
    return True


def tick(world: World) -> Done:
    world.now += UNIT
    return True


def leap(world: World) -> Done:
    """To the next moment at which somebody's silence or an attempt is due, unless a clock has been set back since."""
    states = [view.state for view in world.views if not view.knows_loss]
    if world.unsaid is None:
        states.append(world.state)
    indexes = [state.timers for state in states] + [state.useless for state in states if not world.untold]
    indexes += [state.repairs for state in states]
    times = [index.get(worker_id) for index in indexes for worker_id in WORKERS]
    due = min((at for at in times if world.now + UNIT < at < world.now + FORTH), default=None)
    if due is None:
        return None
    world.now = due
    return True


def set_clock(world: World, where: str) -> Done:
    """The broker's. Nobody notices before something has been stored by the new time."""
    if world.untold:
        return None
    world.set_clock(-BACK if where == "back" else FORTH)
    return True


def lose_beats(world: World, where: str) -> Done:
    """The broker has lost heartbeats that were read. They are numbered on behind the others, or anew."""
    if world.unsaid is not None or not any(worker.incarnation for worker in world.ledger.workers.values()):
        return None
    world.lose_beats(anew=where == "anew")
    return True


def rule(world: World, name: str) -> Done:
    """The operator pauses recovery, lets it go on, grants a verdict retry, or cuts all waiting short."""
    number = POLICY_NAMES.index(name)
    policy = POLICIES[number]
    if world.state.policy == policy or world.state.pause is not None:
        return None
    return world.record(PolicyChanged(policy=policy, policy_hash=POLICY_HASHES[number], actor="operator"))


def garble(world: World) -> Done:
    """Something nobody understands is in the log."""
    if world.state.parked:
        return None
    world.garbage()
    return True


SEATS = (Seat(0), Seat(1))
OUTCOMES: tuple[Outcome, ...] = ("passed", "failed", "fenced", "cancelled")

ACTIONS: tuple[Action, ...] = (
    *(Action(verb, (task_id,)) for task_id in TASKS for verb in (submit, start)),
    *(Action(finish, (task_id, outcome)) for task_id in TASKS for outcome in OUTCOMES),
    *(Action(verb, (task_id,)) for task_id in TASKS for verb in (give_back, forget, cancel, start_late, pass_late)),
    Action(cancel_run),
    *(
        Action(verb, (worker_id,))
        for worker_id in WORKERS
        for verb in (register, beat, beat_deaf, beat_laden, beat_late, exit_seen, exit_late)
    ),
    *(Action(verb, (worker_id,)) for worker_id in WORKERS for verb in (exit_unregistered, drain, stop, stop_late)),
    *(Action(verb, (worker_id,)) for worker_id in WORKERS for verb in (disconnect, disconnect_late)),
    *(Action(verb, (worker_id,)) for worker_id in WORKERS for verb in (vanish, vanish_late)),
    *(Action(verb, (worker_id,)) for worker_id in WORKERS for verb in (condemn, answer, answer_late, readmit)),
    *(Action(verb, (worker_id,)) for worker_id in WORKERS for verb in (cordon, uncordon)),
    *(Action(verb, (seat,)) for seat in SEATS for verb in (elect, elect_slow, crash, step_down, hold, resume)),
    *(Action(verb, (seat,)) for seat in SEATS for verb in (doubt, decide_on_old_view, decide_on_new_view)),
    *(Action(verb, (seat,)) for seat in SEATS for verb in (read_beats, read_events, append, lose)),
    Action(tick),
    Action(leap),
    *(Action(set_clock, (where,)) for where in ("back", "forth")),
    *(Action(lose_beats, (where,)) for where in ("anew", "on")),
    *(Action(rule, (name,)) for name in POLICY_NAMES),
    Action(garble),
    *(Action(verb, (worker_id,)) for worker_id in WORKERS for verb in (order_end, order_restart)),
    Action(pause),
    Action(lift),
)
BY_NAME = {action.name: number for number, action in enumerate(ACTIONS)}
