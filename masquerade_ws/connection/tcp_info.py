"""What the operating system knows of a silent peer: whether its own system still acknowledges what is sent.

A program that is busy reads nothing and answers nothing, but the system that it runs on acknowledges for it
(RFC 9293, 3.8.6). Behind a proxy it is the proxy's system that does.
"""

from __future__ import annotations

import socket
import struct
import sys

__all__ = ["acknowledged"]

# Of Linux' struct tcp_info (linux/tcp.h): tcpi_retransmits and tcpi_probes, what has been sent again and again without
# an answer; tcpi_unacked, the segments that are not acknowledged; tcpi_last_data_sent and tcpi_last_ack_recv, the
# milliseconds since something was sent, and since something was acknowledged.
_TCP_INFO = struct.Struct("=2xBB20xI16xI8xI")


def acknowledged(sock: socket.socket, within: float) -> bool | None:
    """Return whether the peer's system acknowledges what is sent to it.

    While other threads send, something is always on its way. That is not a bad sign if an acknowledgement has just
    come, or if what is on its way has just been sent, and for the first time.

    Nothing is on its way either where our own system cannot send: the cable is out at this end, or the address has
    changed. Then it probes in vain. It probes as well while the peer reads nothing and has no room for more, but that
    peer's system answers, so that there is never more than one probe without an answer.

    Args:
        sock: A connected TCP socket.
        within: How many seconds ago "just" is.

    Returns:
        ``None`` if this system cannot tell.
    """
    if sys.platform != "linux":  # others have no such call, or one whose answer lacks this
        return None
    try:
        answer = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except OSError:  # closed meanwhile
        return None
    retries, probes, unacknowledged, sent_ago, acknowledged_ago = _TCP_INFO.unpack(answer)
    just = within * 1000
    sound = probes < 2 and (unacknowledged == 0 or (retries == 0 and sent_ago < just))
    return bool(sound or acknowledged_ago < just)
