"""Settings: where they come from, who wins, and what is said about each mistake."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from coordinator.config import example_file, load_settings
from coordinator.faults import UsageFault
from coordinator.settings import POLICY_HELP, SERVICE_HELP, ServiceSettings, Settings
from events.policy import Override, Policy

ROOT = Path(__file__).parents[2]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "resurgam.toml"
    path.write_text(text)
    return path


def test_defaults() -> None:
    assert load_settings(environment={}) == Settings(service=ServiceSettings(), policy=Policy())


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    path = written(
        tmp_path, "[policy]\nrecovery_interval = 1.5\nmax_recovery_attempts = 1\ninfrastructure_retries = 1\n"
    )
    environment = {"RESURGAM_POLICY_MAX_RECOVERY_ATTEMPTS": "2", "RESURGAM_POLICY_INFRASTRUCTURE_RETRIES": "2"}
    policy = load_settings(file=path, environment=environment, flags={"infrastructure_retries": 3}).policy
    assert (policy.recovery_interval, policy.max_recovery_attempts, policy.infrastructure_retries) == (1.5, 2, 3)


def test_flags_that_were_not_given_change_nothing() -> None:
    assert load_settings(environment={"RESURGAM_PORT": "1234"}, flags={"port": None}).service.port == 1234


def test_the_environment_can_name_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[coordinator]\nport = 0\n")
    assert load_settings(environment={"RESURGAM_CONFIG": str(path)}).service.port == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [("true", True), ("1", True), ("ON", True), ("yes", True), ("false", False), ("0", False), ("Off", False)],
)
def test_switches_in_the_environment(text: str, expected: bool) -> None:
    assert load_settings(environment={"RESURGAM_POLICY_AUTO_RECOVERY": text}).policy.auto_recovery is expected


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"RESURGAM_POLICY_RECOVRY_INTERVAL": "3"},
            "there is no setting 'RESURGAM_POLICY_RECOVRY_INTERVAL'; did you mean RESURGAM_POLICY_RECOVERY_INTERVAL?",
        ),
        (
            {"RESURGAM_POLICY_RECOVERY_INTERVAL": "abc"},
            "RESURGAM_POLICY_RECOVERY_INTERVAL is 'abc'; it takes a number of seconds above 0, up to 31,536,000",
        ),
        (
            {"RESURGAM_POLICY_RECOVERY_INTERVAL": "nan"},
            "the environment: RESURGAM_POLICY_RECOVERY_INTERVAL is 'nan'; it takes a number of seconds",
        ),
        (
            {"RESURGAM_POLICY_AUTO_RECOVERY": "maybe"},
            "the environment: RESURGAM_POLICY_AUTO_RECOVERY is 'maybe'; it takes true or false, such as true",
        ),
        (
            {"RESURGAM_PORT": "99999"},
            "the environment: RESURGAM_PORT is '99999'; it takes a whole number from 0, up to 65,535, such as 8080",
        ),
        (
            {"RESURGAM_NAMESPACE": "a.b"},
            "RESURGAM_NAMESPACE is 'a.b'; it takes 1 to 64 letters, digits, '_' or '-', such as \"resurgam\"",
        ),
        (
            {"RESURGAM_BROKER_SYNC": "sometimes"},
            "the environment: RESURGAM_BROKER_SYNC is 'sometimes'; it takes 'always' or 'default', such as \"always\"",
        ),
        (
            {"RESURGAM_NATS_ULR": "nats://x"},
            "the environment: there is no setting 'RESURGAM_NATS_ULR'; did you mean RESURGAM_NATS_URL?",
        ),
        ({"RESURGAM_CONFIG": "gone.toml"}, "the configuration file gone.toml cannot be read: No such file"),
    ],
)
def test_mistakes_in_the_environment(variables: dict[str, str], sentence: str) -> None:
    with pytest.raises(UsageFault) as caught:
        load_settings(environment=variables)
    assert sentence in str(caught.value)
    assert caught.value.exit_code == 2


def test_variables_of_others_are_left_alone() -> None:
    assert load_settings(environment={"RESURGAM_WORKER_ID": "w1", "RESURGAM_SOMETHING": "x"}) == Settings()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[policy\n", "is not TOML: Expected ']'"),
        ("[polcy]\nauto_recovery = true\n", "'polcy' does not belong at the top; settings stand in the tables"),
        ("[polcy]\nauto_recovery = true\n", "did you mean [policy]?"),
        ("port = 1\n", "port belongs in [coordinator]"),
        ("failed_after = 30\n", "failed_after belongs in [policy]"),
        ("[policy]\nfailedafter = 30\n", "[policy]: there is no setting 'failedafter'; did you mean failed_after?"),
        ("[policy]\nzzz = 30\n", "there is no setting 'zzz'; there are auto_recovery, "),
        ("[policy]\nfailed_after = '30'\n", "[policy]: failed_after is '30'; it takes a number of seconds above 0"),
        ("[policy]\nfailed_after = -1\n", "failed_after is -1; it takes a number of seconds above 0"),
        ("[policy]\nmax_recovery_attempts = 2.5\n", "max_recovery_attempts is 2.5; it takes a whole number from 1"),
        ("[policy]\nauto_recovery = 1\n", "auto_recovery is 1; it takes true or false"),
        ("[coordinator]\ncoordinator_id = ''\n", "coordinator_id is ''; it takes 1 to 64 letters"),
        ("[policy]\nfailed_after = 3\n", "(given: failed_after by "),
        ("[[policy.overrides]]\nworker = 'a b'\n", "it takes a list of tables with worker, labels, suspect_after"),
        ("[[policy.overrides]]\nfailed_later = 3\n", "Object contains unknown field `failed_later` - at `$[0]`"),
        ("[[policy.overrides]]\nworker = 'far-*'\n", "overrides: table 1 changes nothing; it takes suspect_after, "),
        (
            "[[policy.overrides]]\nlabels = {site = 'far'}\nfailed_after = 11\n",
            "overrides: with table 1, suspect_after 6 s < self_fence_after 12 s < failed_after 11 s does not hold",
        ),
        ("[policy]\nheartbeat_interval = 3\n", "set suspect_after to at least 9 (given: heartbeat_interval by "),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UsageFault) as caught:
        load_settings(file=written(tmp_path, text), environment={})
    assert sentence in str(caught.value)
    assert "resurgam.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"port": -1}, "the command line: --port is -1; it takes a whole number from 0, up to 65,535"),
        (
            {"max_recovery_attempts": 0},
            "the command line: --max-recovery-attempts is 0; it takes a whole number from 1",
        ),
        (
            {"recovery_interval": 0.0},
            "the command line: --recovery-interval is 0.0; it takes a number of seconds above 0",
        ),
        ({"recovery_interval": 0.5}, "recovery_backoff 1 s is longer than its cap, recovery_interval 0.5 s (given: "),
    ],
)
def test_mistakes_in_flags(flags: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageFault) as caught:
        load_settings(environment={}, flags=flags)
    assert sentence in str(caught.value)


def test_overrides_are_tables_of_their_own(tmp_path: Path) -> None:
    text = """
        [policy]
        failed_after = 20

        [[policy.overrides]]
        worker = "far-*"
        failed_after = 60

        [[policy.overrides]]
        labels = {site = "moon"}
        detector = "deadline"
    """
    policy = load_settings(file=written(tmp_path, text), environment={}).policy
    assert policy.overrides == (
        Override(worker="far-*", failed_after=60.0),
        Override(labels={"site": "moon"}, detector="deadline"),
    )


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageFault, match="is not TOML"):
        load_settings(file=path, environment={})


@pytest.mark.parametrize(("struct", "texts"), [(Policy, POLICY_HELP), (ServiceSettings, SERVICE_HELP)])
def test_every_setting_is_described(struct: type[msgspec.Struct], texts: dict[str, str]) -> None:
    assert [field.name for field in msgspec.structs.fields(struct)] == list(texts)


def test_the_example_is_fresh() -> None:
    documented = (ROOT / "docs" / "policy.example.toml").read_text()
    assert documented == example_file(), "run: python -m coordinator --example-config > docs/policy.example.toml"


def test_the_example_means_the_defaults(tmp_path: Path) -> None:
    optional = ("#nats_url", "#replicas", "#coordinator_id")
    text = "\n".join(
        line[1:] if line.startswith("#") and " = " in line and not line.startswith(("# ", *optional)) else line
        for line in example_file().splitlines()
    )
    assert load_settings(file=written(tmp_path, text), environment={}) == Settings()
