"""A small program whose connections come and go: what makes a capture grow."""

from __future__ import annotations

BUSY = """
import socket, struct, sys, time
pause = float(sys.argv[1])
listener = socket.create_server(("10.0.0.5", 7071), backlog=100)
print("ready", flush=True)
until = time.monotonic() + 120
while time.monotonic() < until:
    client = socket.create_connection(("10.0.0.5", 7071))
    accepted = listener.accept()[0]
    # Reset, which leaves no TIME_WAIT behind: there are never more sockets than two.
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    accepted.close()
    client.close()
    time.sleep(pause)
"""
