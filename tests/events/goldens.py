"""One recorded message of every kind, as it stands in logs that exist. `python -m tests.events.goldens` writes them.

A file that changes means that logs written before may not be understood any more: then the kind gets a new version, an
upcaster, and the old file stays, under the name of its version.
"""

from pathlib import Path

import msgspec

from events.codec import encode
from events.kinds import tag_of
from tests.events.examples import EXAMPLES, enveloped

FOLDER = Path(__file__).with_name("golden")


def current() -> dict[str, bytes]:
    """By file name."""
    return {
        f"{tag_of(type(event))}.json": msgspec.json.format(encode(enveloped(event)), indent=2) + b"\n"
        for event in EXAMPLES
    }


if __name__ == "__main__":
    for name, content in current().items():
        (FOLDER / name).write_bytes(content)
