"""What may lie between a host and its database: nothing that is told, a line that is cut, or a pooler."""

from __future__ import annotations

import contextlib
import socket
import threading

__all__ = ["Between"]


class Between:
    """A line to a server on this host, which a test can cut: then nothing comes through, and nobody is told.

    Args:
        port: the server's.
        pooler: hand out another process's number than the server's, as poolers do.
    """

    def __init__(self, port: int, *, pooler: bool = False) -> None:
        self._port, self._pooler = port, pooler
        self._open = threading.Event()
        self._open.set()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._door.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """Let nothing through from now on."""
        self._open.clear()

    def mend(self) -> None:
        """Let everything through again, and what was held up first."""
        self._open.set()

    def close(self) -> None:
        """Take no more connections."""
        self.mend()
        self._door.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._door.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                for way in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(*way, way[0] is far), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                target.sendall(_renumbered(data) if answers and self._pooler else data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _renumbered(data: bytes) -> bytes:
    """Return what a server says, with another number for its process (the message BackendKeyData)."""
    head = b"K\0\0\0\x0c"
    if (at := data.find(head)) < 0:
        return data
    at += len(head)
    return data[:at] + b"\0\0\0\x07" + data[at + 4 :]
