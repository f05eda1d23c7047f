"""Work on the patch queue as on git commits, and write it back.

`open DIR` makes a git repository there: lwIP as it comes, then one commit a patch. Edit, commit
(the subject is the patch's file name without `.patch`, the body its reason), amend and rebase as
you like. `save DIR` writes each commit after the first to `vendor/patches` again, with the line
numbers it has now, and removes the files of commits that are gone.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from fetch import bring
from pin import VendorError

BASE = "lwIP as it comes"
PATCH_NAME = re.compile(r"\d{4}-[a-z0-9-]+")
IDENTITY = ("-c", "user.name=patch queue", "-c", "user.email=patch-queue@invalid")


CLAIM = re.compile(r"^(Case|Test): (.*)$", re.MULTILINE)


def claims(patch: str) -> list[tuple[str, str]]:
    """What a patch says fails without it: ("Case", an id) and ("Test", a file and a name)."""
    return [
        (kind, name)
        for kind, names in CLAIM.findall(split(patch)[0])
        for name in re.split(r",\s*|\s+", names.strip())
    ]


def git(repository: Path, *arguments: str, text: str = "") -> str:
    """Run git there and return what it prints; its complaint is the error's text."""
    done = subprocess.run(
        ["git", *IDENTITY, "-c", "core.autocrlf=false", *arguments],
        cwd=repository, input=text.encode(), capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        complaint = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise VendorError(f"git {arguments[0]} in {repository}: {complaint}")
    return done.stdout.decode("utf-8")


def split(patch: str) -> tuple[str, str]:
    """Split a patch file into its reason and its diff."""
    begin = re.search(r"^--- a/", patch, re.MULTILINE)
    if begin is None:
        raise VendorError("a patch without a line '--- a/'")
    return patch[: begin.start()].rstrip() + "\n", patch[begin.start() :]


def apply(repository: Path, patch: Path) -> None:
    """Apply one patch; hunks may have moved, and a line of context may have changed."""
    diff = split(patch.read_text("utf-8"))[1]
    try:
        git(repository, "apply", "--recount", "--whitespace=nowarn", "-", text=diff)
    except VendorError:
        moved = subprocess.run(
            ["patch", "-p1", "-F2", "--no-backup-if-mismatch"],
            cwd=repository, input=diff.encode(), capture_output=True, check=False,
        )  # fmt: skip
        if moved.returncode:
            raise VendorError(
                f"{patch.name} no longer applies. {repository} holds the queue up to it and what "
                "fitted; mend the *.rej by hand, commit with its name and reason, then run "
                f"`resume`:\n{moved.stdout.decode()}"
            ) from None


def apply_from(repository: Path, patches: list[Path]) -> None:
    """Make a commit of each patch."""
    for patch in patches:
        (repository / ".git" / "patch-under-way").write_text(patch.name, "utf-8")
        apply(repository, patch)
        git(repository, "add", "--all")
        reason = split(patch.read_text("utf-8"))[0]
        git(repository, "commit", "-q", "-F", "-", text=f"{patch.stem}\n\n{reason}")


def open_queue(vendor: Path, repository: Path) -> None:
    """Make the repository: the pristine tree, then the queue."""
    if (repository / ".git").exists():
        raise VendorError(f"{repository} holds a git repository already: name another folder")
    bring(vendor, repository, os.environ, pristine=True)
    (repository / ".gitignore").write_text("*.rej\n*.orig\n", "utf-8")
    git(repository, "init", "-q")
    git(repository, "add", "--all", "--force")
    git(repository, "commit", "-q", "-m", BASE)
    apply_from(repository, sorted((vendor / "patches").glob("*.patch")))


def resume_queue(vendor: Path, repository: Path) -> None:
    """Go on behind the patch that did not apply and was mended and committed by hand."""
    stopped_at = (repository / ".git" / "patch-under-way").read_text("utf-8")
    patches = sorted((vendor / "patches").glob("*.patch"))
    apply_from(repository, [one for one in patches if one.name > stopped_at])


def save_queue(vendor: Path, repository: Path) -> None:
    """Write each commit as a patch file; one that says the same as its file is left alone."""
    if git(repository, "status", "--porcelain"):
        raise VendorError(f"{repository} has changes that are not committed")
    commits = git(repository, "log", "--reverse", "--format=%H").split()
    if git(repository, "log", "-1", "--format=%s", commits.pop(0)).strip() != BASE:
        raise VendorError(f"{repository} is no patch queue: its first commit is not {BASE!r}")
    written: set[str] = set()
    for commit in commits:
        name, _, reason = git(repository, "log", "-1", "--format=%B", commit).partition("\n")
        if not PATCH_NAME.fullmatch(name) or not reason.strip():
            raise VendorError(
                f"commit {commit[:12]} is called {name!r}: a subject like 0110-tcp-what is needed, "
                "and a body that says why"
            )
        diff = git(
            repository, "diff", "--no-ext-diff", "--no-renames", "--no-color", "-U3",
            f"{commit}~", commit,
        )  # fmt: skip
        diff = re.sub(r"^(diff --git|index) .*\n", "", diff, flags=re.MULTILINE)
        diff = re.sub(r"^(@@ .*? @@).*$", r"\1", diff, flags=re.MULTILINE)
        path = vendor / "patches" / f"{name}.patch"
        patch = f"{reason.strip()}\n\n{diff}"
        if not path.exists() or path.read_text("utf-8") != patch:
            path.write_text(patch, "utf-8")
            print(f"wrote {path.name}")
        written.add(path.name)
    for path in (vendor / "patches").glob("*.patch"):
        if path.name not in written:
            path.unlink()
            print(f"removed {path.name}")


def main() -> int:
    """Run the command line; 1 and one message on standard error if it fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["open", "resume", "save"])
    parser.add_argument("repository", type=Path, help="where the patches are commits")
    arguments = parser.parse_args()
    action = {"open": open_queue, "resume": resume_queue, "save": save_queue}[arguments.action]
    try:
        action(Path(__file__).resolve().parent, arguments.repository.resolve())
    except VendorError as error:
        print(f"vendor/patchqueue.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
