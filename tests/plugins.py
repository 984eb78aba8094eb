"""The example plugins, really installed: as a distribution with its metadata, in a folder of a test's own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "plugins"
PAGE = ROOT / "docs" / "plugins.md"


def installed(example: str, folder: Path) -> Path:
    """Where it has been installed, for a path to begin with."""
    source = folder / "source"
    source.mkdir()
    for path in sorted((EXAMPLES / example).iterdir()):
        if path.is_file():
            (source / path.name).write_text(path.read_text())
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(folder / "site"), str(source)], check=True, timeout=100)
    return folder / "site"


def check_page(example: str, module: str) -> None:
    """The page shows the example as it is.

    Raises:
        AssertionError: it does not.
    """
    page, folder = PAGE.read_text(), EXAMPLES / example
    shown = page.partition(f"<!-- file: examples/plugins/{example}/{module} -->\n```python\n")[2].partition("```\n")[0]
    assert shown == (folder / module).read_text()
    points = (folder / "pyproject.toml").read_text().partition("[project.entry-points.")[2].partition("[tool.")[0]
    assert f"[project.entry-points.{points}".strip() in page
