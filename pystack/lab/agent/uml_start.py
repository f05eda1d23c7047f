"""Starts User-Mode Linux, where Debian's would not start by itself, and sees to its end.

    python uml_start.py FOLDER PROGRAM ARGUMENT...

This process stays. When the program ends, or our standard input does (the parent is done, or
gone), it ends all of UML's processes, which have their own process group,
and removes FOLDER. The group is that of the number in FOLDER/group.

UML 6.1 keeps a process's floating-point state in 2696 bytes: it asks ptrace(2) for the state, and
puts it back. On a processor that has more (AMX's tiles make it 11 kB) the kernel gives what fits,
but refuses what is put back, and UML panics. If the question itself is refused, UML falls back
to the 512 bytes that every processor has. So a seccomp filter refuses it. The wider registers
are lost at every page fault then: what runs inside must not use them (see `GLIBC_TUNABLES` in
pystack/lab/hosts/uml.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import struct
import sys
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 22  # EINVAL
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # instructions of the classic BPF
X86_64, PTRACE, GETREGSET = 0xC000003E, 101, 0x4204
# The offsets are those of struct seccomp_data; jumps count instructions.
FILTER = (
    (LOAD, 0, 0, 4),
    (JUMP_IF_EQUAL, 0, 5, X86_64),
    (LOAD, 0, 0, 0),
    (JUMP_IF_EQUAL, 0, 3, PTRACE),
    (LOAD, 0, 0, 16),
    (JUMP_IF_EQUAL, 0, 1, GETREGSET),
    (RETURN, 0, 0, REFUSE),
    (RETURN, 0, 0, ALLOW),
)


def become(program: list[str]) -> None:
    """Runs a program in this process's place, under the filter.

    Raises:
        OSError: The kernel has no seccomp, or there is no such program.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in FILTER))
    filters = struct.pack("HxxxxxxP", len(FILTER), ctypes.addressof(code))
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filters, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.execv(program[0], program)


def main() -> None:
    """Starts it, and waits for the end of either side."""
    folder, *program = sys.argv[1:]
    child = os.fork()
    if child == 0:
        try:
            become(program)
        except OSError as error:
            print(error, flush=True)
        os._exit(1)
    Path(folder, "group").write_text(str(child))
    # The wires and the command stream are the program's alone: their end is its end.
    os.closerange(3, 256)
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(os.pidfd_open(child), select.POLLIN)
    poll.poll()
    for kill in (os.kill, os.killpg):  # its group is there once it has come so far
        with contextlib.suppress(ProcessLookupError):
            kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
