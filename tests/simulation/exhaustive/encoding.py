"""A state of the world as a short string of bytes: two worlds with the same have the same future.

Which coordinator is which does not matter to anybody: they are put in an order that depends on their situation alone.
"""

from collections.abc import Sequence
from typing import Any, get_args

import msgspec

from events.task import Outcome
from tests.simulation.exhaustive import decisions, folds
from tests.simulation.exhaustive.entries import (
    Holding,
    Ledger,
    Phase,
    Repair,
    RepairStage,
    Stage,
    Standing,
    TaskEntry,
    WorkerEntry,
)
from tests.simulation.exhaustive.frames import Frame
from tests.simulation.exhaustive.ranks import Ranks
from tests.simulation.exhaustive.silences import lost
from tests.simulation.exhaustive.world import (
    BEGIN,
    COORDINATORS,
    LIMITS,
    TASKS,
    WORKERS,
    Coordinator,
    Role,
    View,
    World,
)

Packed = tuple[Any, ...]
Raw = Sequence[Any]

STANDING: tuple[Standing, ...] = get_args(Standing)
PHASE: tuple[Phase, ...] = get_args(Phase)
STAGE: tuple[Stage, ...] = get_args(Stage)
REPAIR_STAGE: tuple[RepairStage, ...] = get_args(RepairStage)
ROLE: tuple[Role, ...] = get_args(Role)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


def encode(world: World) -> bytes:
    return _encoder.encode(pack(world))


def thaw(data: bytes) -> Raw:
    """Decoded once, to be unpacked as often as needed."""
    raw: Raw = _decoder.decode(data)
    return raw


def essence(world: World) -> bytes:
    """The encoding without what only another view of the log, or the order of two overdue workers, might ask for."""
    return _encoder.encode(_pack_twice(world, alone=True, blunt=True))


def pack(world: World) -> Packed:
    return _pack_twice(world, alone=world.alone, blunt=False)


def _pack_twice(world: World, *, alone: bool, blunt: bool) -> Packed:
    frame = _frame(world, alone=alone, blunt=blunt)
    packed = _pack(world, frame)
    return packed if frame.ranks.settled() else _pack(world, frame)


def _frame(world: World, *, alone: bool, blunt: bool = False) -> Frame:
    frame = Frame(Ranks(world.beats), world.now, alone, blunt)
    return frame._replace(lost=lost(world.state, frame))


def in_order(world: World) -> list[Coordinator]:
    """The coordinators as they stand in the encoding."""
    frame = _frame(world, alone=False)
    _pack(world, frame)
    frame.ranks.settled()
    return [one for _, one in _ordered(world, frame)]


def _pack(world: World, frame: Frame) -> Packed:
    fold = folds.pack(world.state, frame._replace(lossy=world.unsaid is not None))
    ledger = _ledger(world.ledger, frame)
    unsaid = None if world.unsaid is None else frame.ranks.beat_mark(world.unsaid)
    return fold, ledger, tuple(packed for packed, _ in _ordered(world, frame)), unsaid, world.untold


def _ordered(world: World, frame: Frame) -> list[tuple[Packed, Coordinator]]:
    packed = [(_coordinator(world, one, frame), one) for one in world.coordinators]
    if packed[0][0] != packed[1][0]:
        packed.sort(key=lambda pair: _encoder.encode(pair[0]))
    return packed


def _coordinator(world: World, one: Coordinator, frame: Frame) -> Packed:
    batch = one.batch
    if one.role == "deposed" and world.fenced:
        # It is going to be refused, whatever it says.
        batch = []
    return (
        ROLE.index(one.role),
        world.state.leader_id == one.coordinator_id,
        None if one.view is None else _view(one.view, frame),
        None if batch is None else decisions.pack(batch, frame),
    )


def _view(view: View, frame: Frame) -> Packed:
    standings = tuple(
        (STANDING.index(standing), frame.ranks.incarnation(worker_id, incarnation))
        for worker_id, (standing, incarnation) in view.standings.items()
    )
    read = frame.ranks.beat_mark(view.state.heartbeats_sequence)
    own = frame._replace(now=frame.now + view.ahead, lossy=view.knows_loss)
    return folds.pack(view.state, own), standings, read, view.knows_loss, int(view.ahead)


def _ledger(ledger: Ledger, frame: Frame) -> Packed:
    ranks, alone = frame.ranks, frame.alone
    workers = tuple(_worker(worker_id, ledger.workers[worker_id], ranks, alone) for worker_id in WORKERS)
    return workers, tuple(_task(ledger.tasks[task_id], ranks) for task_id in TASKS)


def _worker(worker_id: str, worker: WorkerEntry, ranks: Ranks, alone: bool) -> Packed:
    standing, repair = worker.standing, worker.repair
    return (
        STANDING.index(standing),
        ranks.incarnation(worker_id, worker.incarnation),
        ranks.incarnation(worker_id, worker.former),
        ranks.incarnation(worker_id, worker.failed_incarnation)
        if standing in ("failed", "permanent") or repair is not None or not alone
        else 0,
        None if repair is None else (repair.number, REPAIR_STAGE.index(repair.stage), repair.answered),
        worker.failures,
        worker.cordoned,
        worker.leaving,
        worker.end_proven and (standing in ("failed", "permanent") or not alone),
    )


def _task(task: TaskEntry, ranks: Ranks) -> Packed:
    if task.phase != "open":
        return (PHASE.index(task.phase),)
    holding, former = task.holding, task.former
    return (
        PHASE.index(task.phase),
        task.cancelled,
        task.attempts,
        None
        if holding is None
        else (
            WORKERS.index(holding.worker_id),
            ranks.incarnation(holding.worker_id, holding.incarnation),
            holding.number,
            STAGE.index(holding.stage),
            holding.started,
            holding.outcome,
            holding.unknown,
        ),
        None if former is None else (WORKERS.index(former[0]), ranks.incarnation(*former)),
        task.infrastructure_used,
        task.spared,
        task.verdict_used,
        task.silent,
        task.late,
    )


def unpack(raw: Raw, *, fenced: bool = True) -> World:
    """A world at the time `BEGIN` that has the encoded one's future."""
    fold, (workers, tasks), coordinators, unsaid, untold = raw
    state = folds.unpack(fold)
    ledger = Ledger(
        LIMITS,
        {worker_id: _unpacked_worker(*packed) for worker_id, packed in zip(WORKERS, workers, strict=True)},
        {task_id: _unpacked_task(*packed) for task_id, packed in zip(TASKS, tasks, strict=True)},
    )
    made = []
    for coordinator_id, (role, elected, view, batch) in zip(COORDINATORS, coordinators, strict=True):
        if elected:
            state.leader_id = coordinator_id
        made.append(
            Coordinator(
                coordinator_id,
                ROLE[role],
                0 if ROLE[role] in ("standby", "deposed") else state.fencing_token,
                None if view is None else _unpacked_view(*view),
                None if batch is None else decisions.unpack(batch),
            )
        )
    return World(state, ledger, made, BEGIN, folds.BEATS, unsaid, untold, fenced)


def _unpacked_view(fold: Raw, standings: Raw, read: int, knows_loss: bool, ahead: int) -> View:
    state = folds.unpack(fold, BEGIN + ahead)
    state.heartbeats_sequence = read
    known: dict[str, tuple[Standing, int]] = {
        worker_id: (STANDING[standing], incarnation)
        for worker_id, (standing, incarnation) in zip(WORKERS, standings, strict=True)
    }
    return View(state, known, knows_loss, ahead)


def _unpacked_worker(
    standing: int,
    incarnation: int,
    former: int,
    failed: int,
    repair: Raw | None,
    failures: int,
    cordoned: bool,
    leaving: bool,
    end_proven: bool,
) -> WorkerEntry:
    made = None if repair is None else Repair(repair[0], REPAIR_STAGE[repair[1]], repair[2])
    return WorkerEntry(STANDING[standing], incarnation, former, failed, end_proven, leaving, made, failures, cordoned)


def _unpacked_task(
    phase: int,
    cancelled: bool = False,
    attempts: int = 0,
    holding: Raw | None = None,
    former: Raw | None = None,
    infrastructure: int = 0,
    spared: int = 0,
    verdict: int = 0,
    silent: bool = False,
    late: bool = False,
) -> TaskEntry:
    held = None
    if holding is not None:
        worker, incarnation, number, stage, started, outcome, unknown = holding
        said: Outcome | None = outcome
        held = Holding(WORKERS[worker], incarnation, number, STAGE[stage], started, said, unknown)
    before = None if former is None else (WORKERS[former[0]], former[1])
    return TaskEntry(PHASE[phase], cancelled, attempts, held, before, infrastructure, spared, verdict, silent, late)
