"""A peer that fights back, and a program beside it: a stateful, seeded adversary of a Stack.

Rules: a run is a list of actions, each a verb and a number. The number is all the chance there is
(`draw`), and zero is the harmless choice everywhere, so that a run replays by its seed and shrinks
by dropping actions and making numbers smaller. An action speaks of what is there now ("the third
connection"), so that it means something whatever was dropped before it. Bytes of a stream follow
from their place in it (`pattern`), so that every byte seen anywhere can be judged.
"""
