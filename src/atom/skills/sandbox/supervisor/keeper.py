"""Forks a supervisor for each connection it is handed: to start one anew takes as long as the program itself.

It reads nothing of what is sent through those connections, holds none of them, and ends with Atom.
"""

import os
import signal
import socket

from atom.skills.sandbox.supervisor.main import main

CONTROL = 0


def run() -> None:
    """Until Atom closes its end, or is gone."""
    connection = _serve(socket.socket(fileno=CONTROL))
    if connection >= 0:
        main(connection)
        os._exit(0)  # nothing of the keeper's is to be torn down here


def _serve(control: socket.socket) -> int:
    """In the keeper: -1 at the end. In a child: the connection that it is for."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how supervisors ended
    while True:
        message, files, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return -1
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            control.close()
            return files[0]
        for file in files:
            os.close(file)
