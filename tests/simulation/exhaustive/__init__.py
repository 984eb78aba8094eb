"""Breadth-first search over the pure core: two workers, two tasks, two coordinators, every order of events and faults.

`python -m tests.simulation.exhaustive --help` says how to run it. Where to read on:

    world      the log's fold, the coordinators around it, and how events get into the log
    ledger     an independent reading of the same log, and the invariants
    actions    everything that may happen next; facts: what workers and people may say, and how late
    encoding   a state of the world as a short string of bytes: what makes two of them the same
    search     the search itself
    ending     from any state, once the faults have stopped, every task gets its verdict
"""
