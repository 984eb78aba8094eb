"""The beginning and the end of a long text."""


class Excerpt:
    """Takes any number of bytes and keeps ``bytes_max`` of them: the head and the tail."""

    def __init__(self, bytes_max: int = 64 * 1024) -> None:
        self._half = bytes_max // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def __len__(self) -> int:
        """How many bytes it was given."""
        return len(self._head) + len(self._tail) + self._dropped

    def add(self, data: bytes) -> None:
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if len(data) > self._half:
            self._dropped += len(data) - self._half
            data = data[-self._half :]
        self._tail += data
        if len(self._tail) > 2 * self._half:  # cut in large steps, not at every byte
            self._cut()

    def _cut(self) -> None:
        excess = len(self._tail) - self._half
        if excess > 0:
            del self._tail[:excess]
            self._dropped += excess

    def text(self) -> str:
        self._cut()
        marker = f"\n[... {self._dropped} bytes left out ...]\n".encode() if self._dropped else b""
        return bytes(self._head + marker + self._tail).decode(errors="replace")
