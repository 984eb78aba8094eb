"""The list of a suite's tests, as pytest itself collects them."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from worker.environment import task_environment
from worker.jobs import Collection, Suite
from worker.kept_process import Limits
from worker.slot_pytest import USAGE_ERROR, WarmPytest

LIMITS = Limits(fence_after_s=30.0, grace_s=1.0, memory_limit_bytes=None)
KEEP_ALIVE_EVERY_S = 1.0


async def collect(suite: Suite, *, env: Mapping[str, str] | None = None, timeout_s: float = 300.0) -> Collection:
    """Collect a suite in a process of its own. What is wrong with the suite is in the result, not raised."""
    try:
        warm = WarmPytest(
            suite,
            env=task_environment(env),
            limits=LIMITS,
            listing=True,
            on_reports=lambda _: None,
            on_end=lambda _: None,
        )
    except (OSError, ValueError) as error:
        return Collection((), f"pytest cannot be started: {error}", USAGE_ERROR)
    keeping = asyncio.create_task(keep_alive(warm))
    text = ""
    try:
        async with asyncio.timeout(timeout_s):
            await warm.settled.wait()
        warm.finish()
    except TimeoutError:
        text = f"pytest has not collected the suite within {timeout_s:g} s"
        warm.process.abort()  # it writes down where it hangs
    except asyncio.CancelledError:
        warm.process.kill()
        raise
    finally:
        await warm.process.ended.wait()
        keeping.cancel()
    found = warm.collection()
    return replace(found, errors="\n".join(filter(None, (text, found.errors)))) if text else found


async def keep_alive(warm: WarmPytest) -> None:
    while True:
        warm.process.keep_alive()
        await asyncio.sleep(KEEP_ALIVE_EVERY_S)
