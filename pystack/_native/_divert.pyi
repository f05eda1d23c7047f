from collections.abc import Callable
from typing import Any

def divert(function: Callable[..., Any], replacement: Callable[..., Any] | None, /) -> None: ...
