"""Running the programs that fetch and build: apt, pip, compilers."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from pystack.lab.provision import ProvisionError

__all__ = ["run_tool"]


def run_tool(
    command: list[str],
    seconds: float,
    *,
    name: str = "",
    marked: str = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Runs a program that asks nothing, and returns its standard output.

    Args:
        command: The program and its arguments.
        seconds: How long it may take.
        name: What errors call it; by default as in `command`.
        marked: How the lines of its errors begin. They are reported in one line, and only they;
            where there are none, or no mark, all of its standard error is.
        cwd: The folder it runs in.
        env: Its environment; by default ours.

    Raises:
        ProvisionError: It can't be started, fails, or takes too long.
    """
    name = name or command[0]
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except OSError as error:
        raise ProvisionError(f"{name}: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise ProvisionError(f"{name} took more than {seconds} s") from error
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.strip()
    lines = [line for line in said.splitlines() if marked and line.startswith(marked)]
    if lines or not said:
        why = " ".join(lines) or f"exit status {done.returncode}"
        raise ProvisionError(f"{name}: {why}")
    raise ProvisionError(f"{name} failed:\n{said}")
