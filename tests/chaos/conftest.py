"""Farms for chaos tests; what holds at the end of each is checked wherever one ends well."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from events.policy import Policy
from tests.chaos.checks import check_everything
from tests.chaos.farm import CALM, Farm

NewFarm = Callable[..., AbstractAsyncContextManager[Farm]]


@pytest.fixture
def new_farm(tmp_path: Path) -> NewFarm:
    @asynccontextmanager
    async def make(policy: Policy = CALM, *, apart: bool = True) -> AsyncIterator[Farm]:
        async with Farm(tmp_path, policy) as farm:
            yield farm
            await check_everything(farm, apart=apart)

    return make
