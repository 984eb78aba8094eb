"""Breadth-first search over the pure core: two workers, two tasks, two coordinators, every order of events and faults,
those of the broker included: it loses heartbeats that were read, and its clock is set.

`python -m tests.simulation.exhaustive --help` says how to run it. Where to read on:

    world      the log's fold, the coordinators around it, and how events get into the log
    ledger     an independent reading of the same log, and the invariants
    actions    everything that may happen next; facts: what workers and people may say, and how late
    encoding   a state of the world as a short string of bytes: what makes two of them the same; folds, frames, ranks
    search     the search itself
    ending     from any state, once the faults have stopped, every task gets its verdict, also if a worker stays away

All policies are for the detector `deadline`. What the other one makes of heartbeats, rows of attempts that fail at
once, tasks that hang, workers that flap and a farm that is too large for its pace are left to the simulator and to the
tests of the core.
"""
