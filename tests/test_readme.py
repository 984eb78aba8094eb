"""README.md tells the truth: its commands run, one after the other, and end as it says."""

import fcntl
from pathlib import Path

import pytest

from tests import readme
from tests.readme import Block, CommandFailed, DocumentError

ROOT = Path(__file__).parent.parent
BLOCK_S_MAX = 120.0


def test_every_console_block_says_how_to_test_it() -> None:
    blocks = readme.parse((ROOT / "README.md").read_text(encoding="utf-8"))
    assert any(block.exit_code is not None for block in blocks), "no block of README.md is run"


@pytest.mark.timeout(600)
def test_the_commands_of_the_readme_run(tmp_path: Path) -> None:
    """All in one test and one copy, since a later block may build on an earlier one."""
    home = tmp_path / "home"
    home.mkdir()
    copy = readme.copy_repository(ROOT, tmp_path / "resurgam")
    for block in readme.parse((copy / "README.md").read_text(encoding="utf-8")):
        if block.exit_code is not None:
            readme.run(block, copy, readme.environment(home), BLOCK_S_MAX)


def document(*lines: str) -> str:
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("Nothing to see.\n", []),
        (document("```python", "$ no", "```"), []),
        (document("<!-- test: run -->", "```console", "$ ls", "```"), [Block(2, ("ls",), 0)]),
        (document("<!-- test: run -->", "", "~~~ console", "$ ls", "~~~"), [Block(3, ("ls",), 0)]),
        (document("<!-- test: run exit=3 -->", "```console", "$ exit 3", "```"), [Block(2, ("exit 3",), 3)]),
        (
            document("<!-- test: skip because it takes a day -->", "```console", "$ ls", "```"),
            [Block(2, ("ls",), None, "it takes a day")],
        ),
        (
            document("<!-- test: run -->", "```console", "$ ls", "README.md", "# a note", "$ pwd", "/there", "```"),
            [Block(2, ("ls", "pwd"), 0)],
        ),
        (
            document("<!-- test: run -->", "```console", "$ ls \\", ">   -l \\", "  -a", "total 0", "```"),
            [Block(2, ("ls \\\n  -l \\\n-a",), 0)],
        ),
        (
            document("- a list", "", "  <!-- test: run -->", "  ```console", "  $ ls", "  ```"),
            [Block(4, ("ls",), 0)],
        ),
        (document("````markdown", "```console", "$ ls", "```", "````"), []),
    ],
)
def test_parses(text: str, blocks: list[Block]) -> None:
    assert readme.parse(text) == blocks


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (document("```console", "$ ls", "```"), "line 1: a console block without a comment above it"),
        (document("<!-- test: run -->", "A sentence.", "```console", "$ ls", "```"), "line 1: a test comment without"),
        (document("<!-- test: run -->", "```python", "```"), "line 1: a test comment without a console block"),
        (document("<!-- test: run -->"), "line 1: a test comment without a console block"),
        (document("<!-- test: run -->", "<!-- test: run -->", "```console", "$ ls", "```"), "line 1: a test comment"),
        (document("<!-- test: run -->", "```console", "ls", "```"), "line 2: a console block without a command"),
        (document("<!-- test: skip -->", "```console", "$ ls", "```"), "line 2: cannot read 'skip'"),
        (document("<!-- test: skip because -->", "```console", "$ ls", "```"), "cannot read 'skip because'"),
        (document("<!-- test: run exit=no -->", "```console", "$ ls", "```"), "cannot read 'run exit=no'"),
        (document("```bash", "ls", "```"), "line 1: a block in bash is not tested, make it console"),
        (document("text", "```console", "$ ls"), "line 2: a block that is never closed"),
    ],
)
def test_refuses(text: str, problem: str) -> None:
    with pytest.raises(DocumentError) as caught:
        readme.parse(text)
    assert problem in str(caught.value)


def run(tmp_path: Path, *commands: str, exit_code: int = 0, timeout_s: float = 30.0) -> str:
    return readme.run(Block(7, commands, exit_code), tmp_path, readme.environment(tmp_path), timeout_s)


def test_commands_of_a_block_share_a_shell(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert run(tmp_path, "cd folder", "name=value", 'echo "$PWD $name"') == f"{tmp_path}/folder value\n"


def test_the_last_command_may_have_to_fail(tmp_path: Path) -> None:
    assert run(tmp_path, "echo before", "exit 3", exit_code=3) == "before\n"


@pytest.mark.parametrize(
    ("commands", "exit_code", "complaint"),
    [
        (["true", "false"], 0, "line 7: `false` exited with 1, not 0"),
        (["echo why; false", "true"], 0, "line 7: `echo why; false` exited with 1, not 0:\nwhy\n"),
        (["false", "true"], 1, "line 7: `false` exited with 1, not 0"),
        (["true"], 1, "line 7: `true` exited with 0, not 1"),
        (["false | true"], 0, "line 7: `false | true` exited with 1, not 0"),
        (["no-such-command-here"], 0, "exited with 127, not 0"),
    ],
)
def test_a_command_that_ends_otherwise(tmp_path: Path, commands: list[str], exit_code: int, complaint: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        run(tmp_path, *commands, exit_code=exit_code)
    assert complaint in str(caught.value)


def test_a_command_that_never_ends(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"`tail -f /dev/null` had not ended after 0\.2 s"):
        run(tmp_path, "tail -f /dev/null", timeout_s=0.2)


@pytest.mark.timeout(20)
def test_nothing_outlives_its_block(tmp_path: Path) -> None:
    """The lock is free once the last process that holds it is gone."""
    run(tmp_path, "exec 9>lock", "flock 9", "tail -f /dev/null &", "echo started")
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def test_the_environment_is_a_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-x")
    monkeypatch.setenv("RESURGAM_NAMESPACE", "theirs")
    assert "PYTEST" not in run(tmp_path, "env")
    assert "RESURGAM" not in run(tmp_path, "env")


def test_the_copy_is_complete_and_clean(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for path in ("README.md", "examples/shop/pyproject.toml", ".git/config", ".venv/bin/python", "a/__pycache__/b.pyc"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    copy = readme.copy_repository(root, tmp_path / "copy")
    found = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert found == {"README.md", "examples/shop/pyproject.toml"}
    assert not (copy / ".git").exists()
