"""Starts User-Mode Linux, where Debian's would not start by itself.

    python uml_start.py PROGRAM ARGUMENT...

UML 6.1 keeps a process's floating-point state in 2696 bytes, asks ptrace(2) for it, and puts it
back. On a processor that has more state (AMX's tiles make it 11 kB) the kernel gives what fits
and refuses what is put back, and UML panics. If the question is refused already, UML falls back
to the 512 bytes that every processor has; the wider registers then stay as they are, which is
right as long as there is but one process inside. The refusal is a seccomp filter.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SIGKILL = 9
SECCOMP_MODE_FILTER = 2
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 22  # EINVAL
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # seccomp(2), bpf's classic instructions
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


def main() -> None:
    """Becomes the program."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in FILTER))
    program = struct.pack("HxxxxxxP", len(FILTER), ctypes.addressof(code))
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) != 0:
        print(f"seccomp: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
