"""Generate the C of the extension `pystack._native._host` from `bindings/*.cdef`.

CMake calls this at build time: ``python bindings/build_cffi.py --output FILE.c``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cffi

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Generate the extension's C source.")
    parser.add_argument("--output", required=True, help="the C file to write")
    arguments = parser.parse_args()

    ffi = cffi.FFI()
    # In the order of their names: a file may use the types of those before it.
    for cdef in sorted(HERE.glob("*.cdef")):
        ffi.cdef(cdef.read_text("utf-8"))
    ffi.set_source("pystack._native._host", '#include "host_api.h"', py_limited_api=True)
    ffi.emit_c_code(arguments.output)


if __name__ == "__main__":
    main()
