"""Which version of the program this is."""

import importlib.metadata


def version() -> str:
    """The installed version; `unpackaged` when it runs from a folder that nobody has installed."""
    try:
        return importlib.metadata.version("resurgam")
    except importlib.metadata.PackageNotFoundError:
        return "unpackaged"
