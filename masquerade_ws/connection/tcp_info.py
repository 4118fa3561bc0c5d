"""What the operating system knows of a silent peer: whether its own system still acknowledges what is sent.

A program that is busy reads nothing and answers nothing, but the system that it runs on acknowledges for it
(RFC 9293, 3.8.6). Behind a proxy it is the proxy's system that does.
"""

from __future__ import annotations

import socket
import struct
import sys

__all__ = ["acknowledged"]

# Of Linux' struct tcp_info (linux/tcp.h): tcpi_probes, the probes sent since the last answer; tcpi_unacked, the
# segments sent and not acknowledged; tcpi_last_ack_recv, the milliseconds since the last acknowledgement.
_TCP_INFO = struct.Struct("=3xB20xI28xI")


def acknowledged(sock: socket.socket, within: float) -> bool | None:
    """Return whether the peer's system acknowledges what is sent to it.

    Something may always be on its way while other threads send. It counts as acknowledged if an acknowledgement has
    just come.

    Nothing is on its way either where our own system cannot send: the cable is out at this end, or the address has
    changed. Then it probes in vain. It probes as well while the peer reads nothing and has no room for more, but that
    peer's system answers, so that there is never more than one probe without an answer.

    Args:
        sock: A connected TCP socket.
        within: How many seconds ago the last acknowledgement may have come if something is not acknowledged.

    Returns:
        ``None`` if this system cannot tell.
    """
    if sys.platform != "linux":  # others have no such call, or one whose answer lacks this
        return None
    try:
        answer = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except OSError:  # closed meanwhile
        return None
    probes, unacknowledged, age = _TCP_INFO.unpack(answer)
    return (unacknowledged == 0 and probes < 2) or bool(age < within * 1000)
