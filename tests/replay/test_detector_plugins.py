"""Detectors that a distribution brings along: judged by, missed, and never trusted blindly."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.config import changed_policy, load_settings
from coordinator.faults import UsageFault
from coordinator.fleet.board import _summary
from coordinator.fleet.examine import View, fleet_health
from coordinator.fleet.notes import Notes, Vitals
from events.policy import Override, Policy
from events.thresholds import thresholds_for
from events.worker import WorkerFailed, WorkerSuspected
from recovery import detectors
from recovery.detectors import Detector, PhiAccrual, detector_for, look_elsewhere, missing
from recovery.detectors.foreign import Absent, Foreign
from replay import plugins
from replay.beats import ListedBeats
from replay.invariants import Checker
from replay.plugins import use_installed_detectors
from replay.verify import Verifier
from tests.plugins import installed
from tests.recovery.story import Story

CHEN = Policy(detector="chen")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed("watch", tmp_path_factory.mktemp("site"))


@pytest.fixture(autouse=True)
def nothing_else() -> Iterator[None]:
    """No plugin before, none behind."""
    look_elsewhere(detectors._nowhere)
    plugins._installed.cache_clear()
    yield
    look_elsewhere(detectors._nowhere)
    plugins._installed.cache_clear()


@pytest.fixture
def plugged(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(site))
    use_installed_detectors()


def built(policy: Policy) -> Detector:
    return detector_for(thresholds_for(policy, "w1", {}), policy)


@pytest.mark.usefixtures("plugged")
def test_an_installed_detector_judges() -> None:
    chen = built(CHEN)
    assert isinstance(chen, Foreign)
    assert missing(CHEN) == []
    assert chen.suspect_after([2.0] * 9) == 6.0
    assert chen.suspect_after([4.5] * 9) == 8.5
    assert chen.failed_after([4.5] * 9) == 16.5


@pytest.mark.usefixtures("plugged")
async def test_a_worker_is_failed_by_it_and_the_log_can_be_verified() -> None:
    story = Story(CHEN)
    story.join("w1", "w2")
    for _ in range(12):
        story.wait(4.5)
        story.beat("w1", "w2")
    story.wait(40.0, "w2")
    (suspected,) = story.told(WorkerSuspected, worker_id="w1")
    (failed,) = story.told(WorkerFailed, worker_id="w1")
    assert suspected.evidence.threshold_s == pytest.approx(8.5)
    assert failed.evidence is not None
    assert failed.evidence.threshold_s == pytest.approx(16.5)
    assert (await verified(story)).difference is None
    checker = Checker()
    for beat in story.beats:
        checker.observe(beat)
    for recorded in story.records:
        checker.feed(recorded)
    assert checker.violations == []


async def verified(story: Story) -> Verifier:
    verifier = Verifier(ListedBeats(story.beats))
    for recorded in story.records:
        if not verifier.done:
            await verifier.take(recorded)
    return verifier


async def test_without_it_nobody_is_condemned_sooner_and_verify_says_that_it_cannot() -> None:
    assert missing(Policy(overrides=(Override(worker="w*", detector="chen"),))) == ["chen"]
    absent = built(CHEN)
    assert isinstance(absent, Absent)
    assert absent.suspect_after([2.0] * 9) == CHEN.failed_after
    assert absent.failed_after([2.0] * 9) == CHEN.failed_after * CHEN.phi_patience_max
    story = Story(CHEN)
    assert story.state.rules.missing == ["chen"]
    story.join("w1", "w2")
    story.wait(60.0, "w2")
    assert [one.reason for one in story.told(WorkerFailed)] == ["silence"], "it is found all the same"
    outcome = await verified(story)
    assert outcome.obstacle is not None
    assert "detectors that are not installed here: chen" in outcome.obstacle


def test_health_says_what_is_missing() -> None:
    story = Story(CHEN)
    found = fleet_health(View(story.state, Notes(), Vitals(), story.now, holds_lease=True))
    assert found.detectors_missing == ["chen"]
    assert any("most patient of all detectors: chen" in line.plain for line in _summary(found))


def test_a_setting_names_only_what_is_here(tmp_path: Path) -> None:
    path = tmp_path / "resurgam.toml"
    path.write_text('[policy]\ndetector = "phy"\n')
    with pytest.raises(UsageFault, match=r"\[policy\]: there is no detector 'phy' here; did you mean 'phi'\?"):
        load_settings(path, environment={})
    with pytest.raises(UsageFault, match="policy set: there is no detector 'zebra' here; there are deadline, phi"):
        changed_policy(Policy(), {"detector": "zebra"}, "policy set")
    assert built(Policy()).__class__ is PhiAccrual


@pytest.mark.usefixtures("plugged")
def test_an_installed_one_may_be_set() -> None:
    assert changed_policy(Policy(), {"detector": "chen"}, "policy set").detector == "chen"


@pytest.mark.parametrize("offered", [object(), Path, None])
def test_what_is_no_detector_is_not_taken_for_one(monkeypatch: pytest.MonkeyPatch, offered: object) -> None:
    monkeypatch.setattr("replay.plugins.load", lambda *_: offered)
    use_installed_detectors()
    assert missing(CHEN) == ["chen"]
