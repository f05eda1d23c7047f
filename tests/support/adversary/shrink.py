"""Makes what was found small: fewer actions, smaller numbers, the same broken promise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adversary.draw import BITS
from adversary.episode import Action

Check = Callable[[Sequence[Action]], bool]


def fewer(actions: list[Action], fails: Check) -> list[Action]:
    """Drops actions as long as the rest still fails (delta debugging: Zeller's ddmin)."""
    size = max(1, len(actions) // 2)
    while True:
        at = 0
        dropped = False
        while at < len(actions):
            rest = actions[:at] + actions[at + size :]
            if rest and fails(rest):
                actions, dropped = rest, True
            else:
                at += size
        if size == 1 and not dropped:
            return actions
        if not dropped or size > len(actions):
            size = max(1, min(size // 2, len(actions)))


def smaller(actions: list[Action], fails: Check) -> list[Action]:
    """Makes each action's number zero, or as short as it can be: the rest is harmless choices."""
    for at, (verb, number) in enumerate(actions):
        for bits in (0, 8, 16, 32, 64, 96, BITS):
            less = number & ((1 << bits) - 1)
            if less == number:
                break
            trial = [*actions[:at], (verb, less), *actions[at + 1 :]]
            if fails(trial):
                actions = trial
                break
    return actions


def shrink(actions: Sequence[Action], fails: Check) -> list[Action]:
    """The least that still fails, as far as dropping and zeroing lead."""
    found = fewer(list(actions), fails)
    return fewer(smaller(found, fails), fails)


def script(
    actions: Sequence[Action], *, engine: str, seed: int, what: str, command: str, trace: str
) -> str:
    """A program that does the actions again, with what was seen in its comments."""
    lines = [
        f'"""{what}',
        "",
        f"Found by: {command}",
        "Run it from a checkout, beside an installed pystack; it needs tests/support on its path.",
        '"""',
        "",
        "from adversary import episode",
        "",
        "ACTIONS = [",
        *(f'    ("{verb}", {number:#x}),' for verb, number in actions),
        "]",
        "",
        f'outcome = episode.run(ACTIONS, engine="{engine}", seed={seed})',
        'print(outcome.found or "nothing found")',
        "",
        "# What went over the wire (> to the Stack):",
        *(f"# {line}" for line in trace.splitlines()),
        "",
    ]
    return "\n".join(lines)
