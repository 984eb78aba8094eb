"""Text from tasks, made fit for an event."""

import msgspec

CHARACTERS_MAX = 32_768
"""The limit of `events.base.Text`."""
JSON_BYTES_MAX = 72 * 1024
"""Control characters take six bytes each; three such texts must fit into one message."""


def fit(text: str) -> str:
    """The text itself, or its beginning and its end; always valid UTF-8."""
    text = text.encode("utf-8", "backslashreplace").decode()
    text = _cut(text, CHARACTERS_MAX)
    size = _size(text)
    if size > JSON_BYTES_MAX:
        text = _cut(text, len(text) * JSON_BYTES_MAX // size)
        if _size(text) > JSON_BYTES_MAX:  # what was kept is dearer than what was cut
            text = _cut(text, JSON_BYTES_MAX // 6)
    return text


def _size(text: str) -> int:
    """In bytes of JSON, or less than the limit."""
    return len(msgspec.json.encode(text)) if len(text) * 6 > JSON_BYTES_MAX else 0


def _cut(text: str, characters: int) -> str:
    if len(text) <= characters:
        return text
    half = (characters - 60) // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
