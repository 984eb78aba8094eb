"""Bugs that are planted into production code to see whether the simulator catches them."""

from tests.simulation.planted.bug import Bug
from tests.simulation.planted.in_claims import CLAIMS
from tests.simulation.planted.in_core import DECIDE, FOLD, TIMERS
from tests.simulation.planted.in_detection import DETECTION
from tests.simulation.planted.in_fleet import FLEET
from tests.simulation.planted.in_forecasts import FORECASTS
from tests.simulation.planted.in_orders import ORDERS
from tests.simulation.planted.in_services import LEADER, PROJECTOR, READER
from tests.simulation.planted.in_snapshots import SNAPSHOTS
from tests.simulation.planted.in_useless import USELESS
from tests.simulation.planted.in_worker import WORKER

BUGS: dict[str, Bug] = {
    one.name: one
    for group in (
        FOLD,
        DECIDE,
        TIMERS,
        DETECTION,
        LEADER,
        SNAPSHOTS,
        READER,
        WORKER,
        CLAIMS,
        PROJECTOR,
        USELESS,
        ORDERS,
        FLEET,
        FORECASTS,
    )
    for one in group
}
