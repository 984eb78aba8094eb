"""Settings from a TOML file, the environment and flags, the later ones winning.

The file has the tables [policy] and [coordinator]; the variables are RESURGAM_POLICY_<FIELD> and RESURGAM_<FIELD>;
RESURGAM_CONFIG names the file when --config does not. Every error names where the value came from, the key, the value
and what would be accepted.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import msgspec

from coordinator.faults import UsageFault
from coordinator.forms import accepted_form, example_value
from coordinator.settings import POLICY_HELP, SERVICE_HELP, ServiceSettings, Settings
from events.plugins import offered
from events.policy import Policy
from recovery.detectors import DETECTORS, missing
from replay.plugins import DETECTORS as PLUGGED
from replay.plugins import use_installed_detectors

PREFIX = "RESURGAM_"
POLICY_PREFIX = "RESURGAM_POLICY_"
CONFIG_VARIABLE = "RESURGAM_CONFIG"
DEFAULT = "default"
NEAR = 0.85
"""How alike a strange RESURGAM_ variable and a known one must be to count as a slip of the pen: other programs of ours
read variables of their own."""

TABLES: dict[str, type[msgspec.Struct]] = {"policy": Policy, "coordinator": ServiceSettings}


class Given(NamedTuple):
    """One value and who gave it: `resurgam.toml, [policy]`, `the variable RESURGAM_PORT`, `the flag --port`."""

    source: str
    name: str
    value: Any
    from_text: bool
    """A variable is text and is converted; a file has types of its own."""


class Sources:
    """Collects the values of one settings struct; later ones replace earlier ones."""

    def __init__(self, struct: type[msgspec.Struct]) -> None:
        self.struct = struct
        self.forms = get_type_hints(struct, include_extras=True)
        self.given: dict[str, Given] = {}

    def add(self, key: str, given: Given) -> None:
        if key not in self.forms:
            raise UsageFault(f"{given.source}: there is no setting {given.name!r}{_nearest(key, self.forms, given)}")
        self.given[key] = given

    def values(self) -> dict[str, Any]:
        return {key: self._converted(key, given) for key, given in self.given.items()}

    def _converted(self, key: str, given: Given) -> Any:
        form = self.forms[key]
        value = given.value.strip() if given.from_text else given.value
        if given.from_text and form is bool:
            value = {"on": "true", "yes": "true", "off": "false", "no": "false"}.get(value.lower(), value.lower())
        try:
            return msgspec.convert(value, form, strict=not given.from_text)
        except msgspec.ValidationError as error:
            # Of a list, only the error itself knows what is wrong with it.
            advice = f": {error}" if isinstance(value, (list, dict)) else f", such as {example_value(self.struct, key)}"
            raise UsageFault(
                f"{given.source}: {given.name} is {value!r}; it takes {accepted_form(form)}{advice}"
            ) from error


def load_settings(
    file: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    http: bool = True,
) -> Settings:
    """Reads all three places. `flags` maps names of fields (of either struct) to values; None means not given.

    Raises:
        UsageFault: something in one of the places is wrong; the message names the place.
    """
    variables = os.environ if environment is None else environment
    policy, service = Sources(Policy), Sources(ServiceSettings)
    named = file if file is not None else variables.get(CONFIG_VARIABLE) or None
    if named is not None:
        _add_file(Path(named), policy, service)
    _add_environment(variables, policy, service)
    for key, value in (flags or {}).items():
        if value is not None:
            target = policy if key in policy.forms else service
            target.add(key, Given("the command line", f"--{key.replace('_', '-')}", value, from_text=False))
    return Settings(service=ServiceSettings(**service.values()), policy=_policy(policy), http=http)


def changed_policy(base: Policy, given: Mapping[str, Any], source: str) -> Policy:
    """Some settings of a policy changed. Text is converted as a variable's is; `DEFAULT` stands for the default.

    Raises:
        UsageFault: a setting is not known, takes something else, or contradicts another.
    """
    defaults = Policy()
    sources = Sources(Policy)
    for key, one in given.items():
        value = getattr(defaults, key, one) if one == DEFAULT else one
        if isinstance(value, str) and value.lstrip().startswith("["):
            value = _toml_value(value)
        sources.add(key, Given(source, key, value, from_text=isinstance(value, str)))
    changes = sources.values()
    try:
        return _with_detectors(msgspec.structs.replace(base, **changes), source)
    except ValueError as error:
        raise UsageFault(f"{source}: {error}") from error


def _with_detectors(policy: Policy, source: str) -> Policy:
    """The same, if every detector that it asks for is here."""
    use_installed_detectors()
    for name in missing(policy):
        known = sorted({*DETECTORS, *offered(PLUGGED)})
        near = difflib.get_close_matches(name, known, 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        raise UsageFault(f"{source}: there is no detector {name!r} here; {hint}")
    return policy


def _toml_value(text: str) -> Any:
    """The value that a configuration file would hold; the text itself where it is none."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _policy(sources: Sources) -> Policy:
    try:
        return _with_detectors(Policy(**sources.values()), _source_of_detectors(sources))
    except ValueError as error:
        # Settings that contradict each other: say who gave those that are named and are not the defaults.
        culprits = [f"{key} by {given.source}" for key, given in sources.given.items() if key in str(error)]
        raise UsageFault(f"{error}" + (f" (given: {', '.join(culprits)})" if culprits else "")) from error


def _source_of_detectors(sources: Sources) -> str:
    given = sources.given.get("detector") or sources.given.get("overrides")
    return "the defaults" if given is None else given.source


def _add_file(path: Path, policy: Sources, service: Sources) -> None:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageFault(f"the configuration file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageFault(f"the configuration file {path} is not TOML: {error}") from error
    by_table = {"policy": policy, "coordinator": service}
    for table, content in tables.items():
        sources = by_table.get(table)
        if sources is None or not isinstance(content, dict):
            raise UsageFault(
                f"{path}: {table!r} does not belong at the top; settings stand in the tables [policy] and "
                f"[coordinator]{_home_of(table)}"
            )
        for key, value in content.items():
            sources.add(key, Given(f"{path}, [{table}]", key, value, from_text=False))


def _add_environment(variables: Mapping[str, str], policy: Sources, service: Sources) -> None:
    known = [PREFIX + key.upper() for key in service.forms] + [CONFIG_VARIABLE]
    for name, value in sorted(variables.items()):
        given = Given("the environment", name, value, from_text=True)
        if name.startswith(POLICY_PREFIX):
            policy.add(name.removeprefix(POLICY_PREFIX).lower(), given)
        elif name in known and name != CONFIG_VARIABLE:
            service.add(name.removeprefix(PREFIX).lower(), given)
        elif name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, 1, NEAR)
            if near:
                raise UsageFault(f"the environment: there is no setting {name!r}; did you mean {near[0]}?")


def _nearest(key: str, known: Mapping[str, Any], given: Given) -> str:
    near = difflib.get_close_matches(key, known, 1, 0.5)
    if not near:
        return f"; there are {', '.join(known)}"
    name = given.name
    spelled = POLICY_PREFIX + near[0].upper() if name.startswith(POLICY_PREFIX) else near[0]
    return f"; did you mean {spelled}?"


def _home_of(key: str) -> str:
    """Where a key that stands at the top of the file belongs, or which table a misspelt one may mean."""
    for table, struct in TABLES.items():
        if key in get_type_hints(struct):
            return f"; {key} belongs in [{table}]"
    near = difflib.get_close_matches(key, TABLES, 1, 0.5)
    return f"; did you mean [{near[0]}]?" if near else ""


def example_file() -> str:
    """A configuration file with every setting at its default, commented out and explained."""
    lines = ["# Every setting of Resurgam with its default. Remove the leading '#' of what you change.", ""]
    for table, help_texts in (("policy", POLICY_HELP), ("coordinator", SERVICE_HELP)):
        struct = TABLES[table]
        forms = get_type_hints(struct, include_extras=True)
        lines += [f"[{table}]", ""]
        for key, form in forms.items():
            lines += [f"# {help_texts[key]}", f"# Takes {accepted_form(form)}."]
            lines += [f"#{key} = {example_value(struct, key)}", ""]
    return "\n".join(lines).rstrip() + "\n"
