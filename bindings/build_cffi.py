"""Generate the C of the extension `pystack._native._host` from the headers of what Python calls.

CMake calls this at build time: ``python bindings/build_cffi.py --output FILE.c``. What Python
answers, and C calls, is in `python.cdef`, written by hand.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import cffi
from declarations import HEADER, Declaration, DeclarationError, fingerprint, of_extension

HERE = Path(__file__).resolve().parent


def declare(ffi: cffi.FFI, declarations: Iterable[Declaration]) -> None:
    """Tell cffi.

    Raises:
        DeclarationError: One is beyond cffi; the message names file and line.
    """
    for one in declarations:
        try:
            ffi.cdef(one.text)
        except (cffi.CDefError, cffi.FFIError, NotImplementedError) as error:
            raise one.error(f"cffi can't take this: {error}") from error


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Generate the extension's C source.")
    parser.add_argument("--output", required=True, type=Path, help="the C file to write")
    parser.add_argument("--depfile", type=Path, help="a makefile that names what it is made from")
    parser.add_argument("--bindings", type=Path, default=HERE, help="where the headers are")
    arguments = parser.parse_args()

    ffi = cffi.FFI()
    try:
        declarations, files = of_extension(arguments.bindings)
        declare(ffi, declarations)
    except DeclarationError as error:
        sys.exit(str(error))
    # By this a source tree sees whether an extension that it finds is its own.
    own = f"#define PS_DECLARATIONS {fingerprint(declarations):#x}"
    ffi.cdef(own)
    ffi.set_source("pystack._native._host", f'#include "{HEADER}"\n{own}\n', py_limited_api=True)
    ffi.emit_c_code(str(arguments.output))
    if arguments.depfile:
        sources = " ".join(str(path).replace(" ", r"\ ") for path in files)
        arguments.depfile.write_text(f"{arguments.output}: {sources}\n", "utf-8")


if __name__ == "__main__":
    main()
