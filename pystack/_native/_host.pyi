from typing import Any

# cffi's own types say no more than this about a library's functions and structures.
ffi: Any
lib: Any
