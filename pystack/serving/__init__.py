"""The services that configure an interface, for engines without their own: linux and gvisor.

`Serving` runs them on the thread that drives the Stack, by the Stack's clock; each is a state
machine over a `Port`, that is told the time and the frames that are for it (`scheduler`). What they
give an interface is set by the Stack's own calls, and shown by the host as theirs
(bindings/host/stack/serving.c).
"""

from __future__ import annotations

from pystack.serving.scheduler import SETTINGS, Serving, serving_of

__all__ = ["SETTINGS", "Serving", "serving_of"]
