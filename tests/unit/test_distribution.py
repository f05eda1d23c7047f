"""What is shipped: what the binaries export, and building from source without a network."""

import base64
import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from importlib.util import find_spec
from pathlib import Path

import pytest
from installed import needs_programs
from packaging.requirements import Requirement

import pystack
from pystack._native.engines import PACKAGE

ROOT = Path(__file__).resolve().parents[2]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files of 64 bits")


def sections(image: bytes) -> dict[str, bytes]:
    """The sections of an ELF file of 64 bits, little-endian, by name (elf(5))."""
    assert image[:6] == b"\x7fELF\x02\x01"
    (table,) = struct.unpack_from("<Q", image, 40)
    size, count, names = struct.unpack_from("<HHH", image, 58)
    headers = [struct.unpack_from("<IIQQQQ", image, table + n * size) for n in range(count)]
    strings = headers[names]
    texts = image[strings[4] : strings[4] + strings[5]]
    return {
        texts[name : texts.index(b"\0", name)].decode(): image[offset : offset + length]
        for name, _type, _flags, _address, offset, length in headers
    }


def exports(image: bytes) -> set[str]:
    """The symbols that an ELF file defines for others."""
    found = sections(image)
    names, symbols = found[".dynstr"], found[".dynsym"]
    return {
        names[name : names.index(b"\0", name)].decode()
        for name, _info, _other, section, _value, _size in struct.iter_unpack("<IBBHQQ", symbols)
        if section != 0
    }


# The extension has three modules.
EXPORTS = {
    "_native/_host.abi3.so": {"PyInit__divert", "PyInit__host", "PyInit__transfer"},
    "_native/engines/lwip.so": {"ps_engine_table"},
}
BINARIES = 450_000  # bytes of both, compressed; with symbols and debugging sections it is 2 MB


@LINUX
@pytest.mark.parametrize("name", EXPORTS)
def test_a_binary_exports_no_more_than_it_must(name: str) -> None:
    assert exports((PACKAGE / name).read_bytes()) == EXPORTS[name]


# --- without a network --------------------------------------------------------------------------


def required(names: list[str]) -> dict[str, Distribution]:
    """The distributions of these names and all that they need here."""
    found: dict[str, Distribution] = {}
    waiting = [Requirement(name) for name in names]
    while waiting:
        one = waiting.pop()
        if one.name in found or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        found[one.name] = distribution(one.name)
        waiting += [Requirement(text) for text in found[one.name].requires or ()]
    return found


def packed(one: Distribution, folder: Path) -> None:
    """Makes a wheel of a distribution that is installed."""
    tag = re.search(r"(?m)^Tag: (.+)$", one.read_text("WHEEL") or "")
    assert tag is not None
    stem = f"{re.sub('[-_.]+', '_', one.metadata['Name'])}-{one.version}"
    records = []
    with zipfile.ZipFile(folder / f"{stem}-{tag[1]}.whl", "w") as wheel:
        for file in one.files or ():
            if file.suffix == ".pyc" or file.name in ("INSTALLER", "REQUESTED", "direct_url.json"):
                continue
            if file.name == "RECORD":
                record = str(file)
                continue
            name = str(file) if ".." not in file.parts else f"{stem}.data/scripts/{file.name}"
            data = Path(str(file.locate())).read_bytes()
            wheel.writestr(name, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            records.append(f"{name},sha256={digest},{len(data)}\n")
        wheel.writestr(record, "".join([*records, f"{record},,\n"]))


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip download` brings to build and to run pystack, made of what is installed here."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    requires = re.search(r"(?m)^requires = \[(.*)\]$", text)
    assert requires is not None
    names = re.findall(r'"([^"]+)"', requires[1])
    names += [
        text for text in distribution("pystack-lwip").requires or () if "extra ==" not in text
    ]
    names += [name for name in ("cmake", "ninja") if find_spec(name)]
    for one in required(names).values():
        packed(one, folder)
    return folder


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of the files that git knows."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("sdist")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(out)],
        cwd=copy, check=True, capture_output=True, timeout=600,
    )  # fmt: skip
    (made,) = out.iterdir()
    return made


@pytest.fixture
def lonely(tmp_path: Path) -> list[str]:
    """The words before a command that has no network, no cache and no home; see unshare(1)."""
    words = ["unshare", "--net", *(["--map-root-user"] if os.geteuid() else [])]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], check=False).returncode:
        pytest.skip("no network namespaces here")
    (tmp_path / "home").mkdir()
    unset = ["XDG_CACHE_HOME", "PYSTACK_LWIP_SOURCE", "CMAKE_GENERATOR"]
    unset += [name for name in os.environ if name.startswith("PIP_")]
    away = [word for name in unset for word in ("-u", name)]
    return [*words, "env", *away, f"HOME={tmp_path / 'home'}", f"PIP_CONFIG_FILE={os.devnull}"]


@LINUX
@pytest.mark.slow
@needs_programs("cmake", "ninja")  # which pip would bring else
@pytest.mark.timeout(1800)
def test_a_source_distribution_needs_no_network(
    sdist: Path, wheelhouse: Path, lonely: list[str], tmp_path: Path
) -> None:
    shutil.copy(sdist, wheelhouse)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    made = subprocess.run(
        [*lonely, *pip, "wheel", "--no-index", "--find-links", str(wheelhouse), "--no-deps",
         "--wheel-dir", str(tmp_path / "made"), "pystack-lwip"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    (wheel,) = (tmp_path / "made").iterdir()
    subprocess.run(
        [*pip, "install", "--quiet", "--no-index", "--find-links", str(wheelhouse),
         "--target", str(tmp_path / "site"), str(wheel)],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    site = tmp_path / "site"
    ran = subprocess.run(
        [*lonely, sys.executable, "-S", "-c",
         f"import sys; sys.path.insert(0, {str(site)!r}); import pystack\n"
         "with pystack.Stack() as net:\n"
         "    net.ping('127.0.0.1'); print(pystack.__version__)"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.stdout == f"{pystack.__version__}\n", ran.stderr

    for name, expected in EXPORTS.items():
        image = (site / "pystack" / name).read_bytes()
        left = {one for one in sections(image) if one.startswith(".debug") or one == ".symtab"}
        assert not left, f"{name} is not stripped"
        assert exports(image) == expected
    # Of the wheel's size only this is the build's doing; the rest is Python, and grows with it.
    with zipfile.ZipFile(wheel) as archive:
        packed = sum(one.compress_size for one in archive.infolist() if ".so" in one.filename)
    assert packed < BINARIES
