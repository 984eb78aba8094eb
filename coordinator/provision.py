"""The streams of a system on a broker that somebody else runs: made where they are missing, as soon as they can be."""

import asyncio

import structlog

from coordinator.faults import BrokerFault, UsageFault
from events.bus import Bus
from events.errors import BrokerRefused, NobodyListens, Unacknowledged
from events.streams import MIB, Kept, Streams, ensure_streams

log = structlog.get_logger(__name__)

MAJORITY_S_MAX = 20.0
"""The nodes of a cluster that start together take up to ten seconds to elect a leader."""
PAUSE_S = 0.25

NO_CLUSTER = 10074
TOO_FEW_NODES = 10005


async def provide_streams(bus: Bus, streams: Streams, *, replicas: int | None) -> None:
    """Makes what is missing, on as many nodes as `streams.replicas` says. `replicas` is what was asked for, if anything
    was: streams that are kept otherwise are refused, and left as they are.

    Raises:
        UsageFault: `replicas` is not what there is, or cannot be had.
        BrokerFault: no JetStream there, no room for the streams, no majority of the nodes.
    """
    deadline = asyncio.get_running_loop().time() + MAJORITY_S_MAX
    while True:
        try:
            kept = await ensure_streams(bus, streams)
            break
        except BrokerRefused as refused:
            raise _refusal(bus.url, streams, refused) from refused
        except NobodyListens as silence:
            raise BrokerFault(
                f"the broker at {bus.url} has no JetStream: start it with 'nats-server -js', or give another --nats-url"
            ) from silence
        except Unacknowledged as silence:
            if asyncio.get_running_loop().time() >= deadline:
                raise BrokerFault(
                    f"JetStream at {bus.url} does not answer ({silence}): a cluster needs more than half of its nodes; "
                    f"start those that are away"
                ) from silence
            log.info("waiting_for_broker", url=bus.url, error=str(silence))
        await asyncio.sleep(PAUSE_S)
    _compare(bus.url, kept, replicas)


def _refusal(url: str, streams: Streams, refused: BrokerRefused) -> BrokerFault | UsageFault:
    if refused.code == NO_CLUSTER:
        return UsageFault(
            f"--replicas {streams.replicas} needs a cluster, and the broker at {url} is a single server: leave it out, "
            f"or give the addresses of a cluster ('resurgam cluster' starts one here)"
        )
    if refused.code == TOO_FEW_NODES:
        return BrokerFault(
            f"the cluster at {url} does not find {streams.replicas} nodes with room for the streams of "
            f"{streams.namespace!r}: start or add nodes, or give a smaller --replicas"
        )
    return BrokerFault(
        f"the broker at {url} does not take the streams of {streams.namespace!r}: {refused.description}; it needs "
        f"JetStream with room for {streams.bytes_max // MIB} MiB in files"
    )


def _compare(url: str, kept: list[Kept], replicas: int | None) -> None:
    other = [one for one in kept if replicas not in (None, one.replicas)]
    if other:
        one = other[0]
        raise UsageFault(
            f"--replicas {replicas} was asked for, and the stream {one.stream} at {url} is kept on {one.replicas} "
            f"{'node' if one.replicas == 1 else 'nodes'}: leave --replicas out, or change the stream by hand while all "
            f"nodes are well (see 'A cluster' in README.md)"
        )
    alone = [one.stream for one in kept if one.cluster and one.replicas == 1]
    if alone:
        log.warning(
            "streams_on_one_node",
            streams=alone,
            consequence="nothing works while the node that keeps a stream is away",
            remedy="give --replicas 3 when the system is started for the first time",
        )
