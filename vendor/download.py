"""Downloads of lwIP's archives, and the cache that makes them happen once."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from pin import Pin, VendorError

APT_TIMEOUT_S = 180
HTTP_TIMEOUT_S = 60
ONE_LINE_SOURCE = re.compile(r"^\s*deb\s+(?:\[.*?\]\s*)?(\S+)\s+(\S+)\s+(.*)$", re.MULTILINE)
FIELD = re.compile(r"^([\w-]+):[ \t]*(.*)$", re.MULTILINE)


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Return where this platform keeps what a user's programs can download again."""
    if sys.platform == "win32":
        base = Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "pystack"


def debian_mirrors(apt: Path = Path("/etc/apt")) -> list[str]:
    """List the archives with a component `main` that apt is set up to use, likely ones first."""
    uris: list[str] = []
    for file in [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))]:
        text = file.read_text("utf-8") if file.is_file() else ""
        for match in re.finditer(
            r"^\s*deb\s+(?:\[.*?\]\s*)?(\S+)\s+(\S+)\s+(.*)$", text, re.MULTILINE
        ):
            uri, suite, components = match.groups()
            if "main" in components.split() and "security" not in uri + suite:
                uris.append(uri)
    for file in sorted(apt.glob("sources.list.d/*.sources")):
        text = re.sub(r"^#.*\n", "", file.read_text("utf-8"), flags=re.MULTILINE)
        for stanza in re.split(r"\n\s*\n", text):
            unfolded = re.sub(r"\n\s+", " ", stanza)
            field = {
                k.lower(): v
                for k, v in re.findall(r"^([\w-]+):[ \t]*(.*)$", unfolded, re.MULTILINE)
            }
            usable = field.get("enabled", "yes").strip().lower() not in ("no", "false", "0")
            if usable and "main" in field.get("components", "").split():
                uris += [u for u in field.get("uris", "").split() if "security" not in u]
    fetchable = [u for u in uris if re.match(r"(https?|mirror(\+\w+)?):", u)]
    # Other vendors have a "main" too; Debian's own archive is at ".../debian" nearly everywhere.
    return sorted(dict.fromkeys(fetchable), key=lambda u: not u.rstrip("/").endswith("/debian"))


def run_apt(arguments: list[str], work: Path) -> None:
    """Run apt-get with all its state below `work`, so that no root is needed."""
    options = {
        "Dir::Etc::SourceList": work / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": work / "lists",
        "Dir::Cache": work / "cache",
        "Acquire::Languages": "none",
        "Acquire::Check-Valid-Until": "false",
        "Acquire::Retries": "1",
        "APT::Sandbox::User": "",
        "APT::Update::Error-Mode": "any",
    }
    command = ["apt-get", "-q", *(f"-o{key}={value}" for key, value in options.items())]
    try:
        done = subprocess.run(
            [*command, *arguments],
            cwd=work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=APT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VendorError(f"apt-get {arguments[0]}: {error}") from error
    if done.returncode:
        problems = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        reason = " ".join(problems) or f"exit status {done.returncode}"
        raise VendorError(f"apt-get {arguments[0]}: {reason}")


def download_from_debian(pin: Pin) -> bytes:
    """Bring the archive of Debian's source package, leaving apt's configuration untouched."""
    if shutil.which("apt-get") is None:
        raise VendorError("this machine has no apt-get")
    mirrors = debian_mirrors()
    if not mirrors:
        raise VendorError("apt is set up with no http(s) mirror")
    reasons: list[str] = []
    for mirror in mirrors:
        for suite in pin.debian_suites:
            with tempfile.TemporaryDirectory(prefix="pystack-apt-") as name:
                work = Path(name)
                for directory in ("lists/partial", "cache/archives/partial"):
                    (work / directory).mkdir(parents=True)
                # An older Debian's keyring need not know this suite's key. The pinned hash
                # is what secures us, so apt need not vouch for the archive too.
                source = f"deb-src [trusted=yes] {mirror} {suite} main\n"
                (work / "sources.list").write_text(source, "utf-8")
                try:
                    run_apt(["update"], work)
                    run_apt(["source", "--download-only", "--tar-only", pin.debian_package], work)
                except VendorError as error:
                    reasons.append(f"{suite}: {error}")
                    continue
                if (work / pin.debian.name).is_file():
                    return (work / pin.debian.name).read_bytes()
                reasons.append(f"{suite}: has no {pin.debian.name}")
    raise VendorError("; ".join(reasons))


def download_from_upstream(pin: Pin) -> bytes:
    """Bring upstream's release archive."""
    try:
        with urllib.request.urlopen(pin.upstream_url, timeout=HTTP_TIMEOUT_S) as response:
            return bytes(response.read())
    except OSError as error:
        raise VendorError(f"{pin.upstream_url}: {error}") from error


def remember(content: bytes, path: Path) -> None:
    """Keep a checked download for the next build; a machine without a home does without."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(content)
        Path(file.name).replace(path)
    except OSError as error:
        print(f"lwIP's archive is not cached: {error}", file=sys.stderr)
