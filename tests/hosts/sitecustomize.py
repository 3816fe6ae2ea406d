"""Notes every host name that this process looks up, in the file that LOOKED_UP names.

On the path of each process of a turn, whoever starts it: Python runs this file before all others.
"""

import os
import socket

if "LOOKED_UP" in os.environ:
    _real = socket.getaddrinfo

    def _noted(host, *args, **kwargs):  # type: ignore[no-untyped-def]
        name = host.decode() if isinstance(host, bytes) else str(host)
        with open(os.environ["LOOKED_UP"], "a") as notes:
            notes.write(name + "\n")
        return _real(host, *args, **kwargs)

    socket.getaddrinfo = _noted
