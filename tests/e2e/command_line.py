"""The real command line in a process of its own, forked from a server that has imported torch already.

Run by `runpy` inside the new process with these globals: `argv` (after the program's name), `folder` (working
folder), `out` and `err` (files), `environment`, `kill` (None, or an audit event, a part of its path and a
number: the process dies by SIGKILL, unseen by Python, right before that occurrence), `sockets` (False
refuses internet sockets) and `largest_file` (bytes that a file may have, or None).
"""
# ruff: noqa: F821, E402  (the globals above come from the caller; torch is imported under its limits)
# mypy: ignore-errors

import multiprocessing
import os
import signal
import socket
import sys


def die_at(event, part, number):
    """Die right before the given occurrence of an event whose arguments hold `part`."""
    seen = [0]

    def hook(name, arguments):
        if name == event and any(part in str(argument) for argument in arguments):
            seen[0] += 1
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def no_internet(name, arguments):
    """Refuse every socket but local ones."""
    if name == "socket.__new__" and arguments[1] in (socket.AF_INET, socket.AF_INET6):
        raise PermissionError("a socket was asked for")


os.setpgid(0, 0)
# As in a program started by a shell: the server's way would import torch anew in every loader process.
multiprocessing.set_start_method("fork", force=True)
for number, path in ((1, out), (2, err)):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
os.environ.update(environment)
os.chdir(folder)
sys.argv = ["latentvr", *argv]
if largest_file is not None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
import torch

torch.set_num_threads(1)
from latentvr.cli.main import main

if kill is not None:
    die_at(*kill)
if not sockets:
    sys.addaudithook(no_internet)
# The handler that a started program has; the server's children ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    main()
finally:
    sys.stdout.flush()
    sys.stderr.flush()
