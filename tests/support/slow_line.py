"""A line between two network namespaces that delays each packet: two TUN devices, with a thread between them."""

from __future__ import annotations

import collections
import os
import select
import struct
import subprocess
import sys
import threading
import time

if sys.platform != "win32":
    import fcntl

__all__ = ["SlowLine"]

_TUNSETIFF = 0x400454CA
_TUN, _NO_PACKET_INFO = 0x0001, 0x1000
_MOST_WAITED = 1.0  # seconds until the thread looks whether it is to end, if no packet wakes it


class SlowLine:
    """Lay a line between the namespaces ``near`` (10.98.0.1) and ``far`` (10.98.0.2); to be removed before them.

    Args:
        near: One namespace.
        far: The other.
        delay: Seconds that a packet takes.
    """

    def __init__(self, near: str, far: str, delay: float) -> None:
        self._delay = delay
        self._ends = [_end(near, "t0", "10.98.0.1", "10.98.0.2"), _end(far, "t1", "10.98.0.2", "10.98.0.1")]
        self._under_way: collections.deque[tuple[float, int, bytes]] = collections.deque()
        self._removed = False
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def _carry(self) -> None:
        near, far = self._ends
        while not self._removed:
            left = self._under_way[0][0] - time.monotonic() if self._under_way else _MOST_WAITED
            for end in select.select(self._ends, [], [], max(0.0, min(left, _MOST_WAITED)))[0]:
                self._under_way.append(
                    (time.monotonic() + self._delay, far if end == near else near, os.read(end, 65536))
                )
            while self._under_way and self._under_way[0][0] <= time.monotonic():
                _, end, packet = self._under_way.popleft()
                os.write(end, packet)

    def remove(self) -> None:
        """End the thread and close the devices, which vanish."""
        self._removed = True
        self._thread.join()
        for end in self._ends:
            os.close(end)


def _end(namespace: str, device: str, address: str, other: str) -> int:
    """Make a device in a namespace, and return the descriptor from which its packets are read."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", device.encode(), _TUN | _NO_PACKET_INFO))
    for command in (
        ["ip", "link", "set", device, "netns", namespace],
        ["ip", "-n", namespace, "addr", "add", address, "peer", other, "dev", device],
        ["ip", "-n", namespace, "link", "set", device, "up"],
    ):
        subprocess.run(command, check=True, capture_output=True)
    return descriptor
