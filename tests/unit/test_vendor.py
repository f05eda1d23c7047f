"""How lwIP's source is brought: vendor/fetch.py and its pins, without a network."""

import hashlib
import importlib
import io
import json
import os
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

VENDOR = Path(__file__).parents[2] / "vendor"
FILES = {
    "COPYING": b"do what you like\n",
    "src/core/tcp.c": b"one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n",
    "src/include/lwip/tcp.h": b"struct tcp_pcb;\n",
}
BESIDE = {"README": b"not among the roots\n", "src-not/x.c": b"nor is this\n"}
PATCH_TWO = (
    b"--- a/src/core/tcp.c\n+++ b/src/core/tcp.c\n@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n"
)
PATCH_AFTER_TWO = (
    b"A reason for it.\n\n--- a/src/core/tcp.c\n+++ b/src/core/tcp.c\n"
    b"@@ -1,3 +1,4 @@\n one\n TWO\n+and a half\n three\n"
    b"@@ -7,3 +8,3 @@\n seven\n-eight\n+EIGHT\n nine\n"
)


@pytest.fixture(scope="module")
def fetch():
    """Import vendor/fetch.py, which is a script and not part of the package."""
    sys.path.insert(0, str(VENDOR))
    try:
        yield importlib.import_module("fetch")
    finally:
        sys.path.remove(str(VENDOR))
        for name in ("fetch", "download", "pin"):
            sys.modules.pop(name, None)


def tar_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:xz") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(f"lwip-9/{path}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, content in files.items():
            archive.writestr(f"lwip-9/{path}", content)
    return stream.getvalue()


def write(top: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(content)
    return top


def files_in(top: Path) -> dict[str, bytes]:
    return {
        path.relative_to(top).as_posix(): path.read_bytes()
        for path in top.rglob("*")
        if path.is_file() and path.name != ".pystack-stamp"
    }


class Vendor:
    """A vendor directory of its own, an environment without network, and what it is to bring."""

    def __init__(self, fetch, top: Path):
        self.fetch = fetch
        self.top = top / "vendor"
        self.output = top / "output"
        self.release = top / "release.zip"
        (self.top / "patches").mkdir(parents=True)
        self.environ = {"XDG_CACHE_HOME": str(top / "cache")}
        crlf = {path: content.replace(b"\n", b"\r\n") for path, content in FILES.items()}
        self.zip = zip_of({**crlf, **BESIDE})
        pin = importlib.import_module("pin")
        pins = {
            "version": "9",
            "tree": {"roots": ["COPYING", "src"], "sha256": pin.tree_sha256(FILES)},
            "debian": {"package": "lwip", "suites": ["x"], "archive": "d.tar.xz", "sha256": "0"},
            "upstream": {
                "url": self.release.as_uri(),
                "archive": "u.zip",
                "sha256": hashlib.sha256(self.zip).hexdigest(),
            },
        }
        (self.top / "lwip.json").write_text(json.dumps(pins))

    def bring(self, **options) -> str:
        return self.fetch.bring(self.top, self.output, self.environ, **options)

    def patch(self, name: str, content: bytes) -> None:
        (self.top / "patches" / name).write_bytes(content)


@pytest.fixture
def vendor(fetch, tmp_path, monkeypatch) -> Vendor:
    # Without apt-get, Debian's way is closed; upstream's goes to a file that is not there yet.
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    return Vendor(fetch, tmp_path)


def test_the_pins_name_the_design_s_version_and_archive(fetch):
    pin = fetch.Pin.load(VENDOR / "lwip.json")
    assert pin.version == "2.2.1"
    assert pin.debian.name == "lwip_2.2.1+dfsg1.orig.tar.xz"
    assert pin.debian.sha256 == "83729c274c499d3348e9fbbe043a3113f3fa8953e7efddc7c21c7fcbb1f2b7b1"


def test_the_patches_of_this_repository_change_only_what_is_compiled(fetch):
    for patch in (VENDOR / "patches").glob("*.patch"):
        targets = [line for line in patch.read_text().splitlines() if line.startswith("+++ ")]
        assert targets
        assert all(target.startswith("+++ b/src/") for target in targets), patch.name


def test_vendor_directory_comes_first_and_is_not_touched(vendor):
    write(vendor.top / "lwip", FILES | BESIDE)
    vendor.environ["PYSTACK_LWIP_SOURCE"] = "/nowhere"
    vendor.patch("01.patch", PATCH_TWO)
    assert vendor.bring() == "lwIP 9 with 1 patches, from vendor/lwip"
    assert files_in(vendor.output).keys() == FILES.keys()
    assert b"TWO" in (vendor.output / "src/core/tcp.c").read_bytes()
    assert files_in(vendor.top / "lwip") == FILES | BESIDE


@pytest.mark.parametrize(
    "change",
    [{"src/core/tcp.c": b"changed\n"}, {"src/core/added.c": b"added\n"}],
    ids=["changed", "added"],
)
def test_vendor_directory_that_is_not_the_pinned_tree_is_refused(vendor, change):
    write(vendor.top / "lwip", FILES | change)
    vendor.release.write_bytes(vendor.zip)  # never reached: what is there but wrong stops us
    with pytest.raises(vendor.fetch.VendorError, match=r"is not lwIP 9 as published: .* pinned is"):
        vendor.bring()
    assert not vendor.output.exists()


@pytest.mark.parametrize("kind", ["directory", "tar", "zip with CRLF"])
def test_named_source(vendor, tmp_path, kind):
    named = tmp_path / "named"
    if kind == "directory":
        write(named, FILES | BESIDE)
    else:
        named.write_bytes(tar_of(FILES | BESIDE) if kind == "tar" else vendor.zip)
    vendor.environ["PYSTACK_LWIP_SOURCE"] = str(named)
    assert vendor.bring() == f"lwIP 9 with 0 patches, from PYSTACK_LWIP_SOURCE={named}"
    assert files_in(vendor.output) == FILES


def test_named_source_with_another_content_is_refused(vendor, tmp_path):
    (tmp_path / "named").write_bytes(tar_of(FILES | {"COPYING": b"pay me\n"}))
    vendor.environ["PYSTACK_LWIP_SOURCE"] = str(tmp_path / "named")
    with pytest.raises(vendor.fetch.VendorError, match=r"PYSTACK_LWIP_SOURCE=.*is not lwIP 9"):
        vendor.bring()


@pytest.mark.parametrize("content", [None, b"no archive at all"], ids=["missing", "garbage"])
def test_named_source_that_cannot_be_read_is_refused(vendor, tmp_path, content):
    if content is not None:
        (tmp_path / "named").write_bytes(content)
    vendor.environ["PYSTACK_LWIP_SOURCE"] = str(tmp_path / "named")
    with pytest.raises(vendor.fetch.VendorError, match="not a directory or archive to read"):
        vendor.bring()


def test_an_archive_cannot_write_outside_of_its_place(vendor, tmp_path):
    (tmp_path / "named").write_bytes(tar_of(FILES | {"src/../../../escaped": b"!"}))
    vendor.environ["PYSTACK_LWIP_SOURCE"] = str(tmp_path / "named")
    vendor.bring()
    assert files_in(vendor.output) == FILES
    assert not list(tmp_path.rglob("escaped"))


def test_a_download_is_cached_for_the_next_build(vendor):
    vendor.release.write_bytes(vendor.zip)
    assert vendor.bring().endswith("from upstream's release")
    vendor.release.unlink()
    vendor.output.rename(vendor.output.with_name("first"))
    assert vendor.bring().endswith("from the user's cache")
    assert files_in(vendor.output) == FILES


def test_a_download_with_another_hash_is_refused(vendor):
    vendor.release.write_bytes(vendor.zip + b"\0")
    with pytest.raises(vendor.fetch.VendorError, match=r"u\.zip: SHA-256 is \w+, pinned is"):
        vendor.bring()
    assert not vendor.output.exists()
    assert not Path(vendor.environ["XDG_CACHE_HOME"]).exists()


def test_a_spoiled_cache_is_reported_and_replaced(vendor):
    cached = Path(vendor.environ["XDG_CACHE_HOME"]) / "pystack" / "u.zip"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"half a down")
    with pytest.raises(vendor.fetch.VendorError, match=r"this user's cache: .*pinned is"):
        vendor.bring()
    vendor.release.write_bytes(vendor.zip)
    vendor.bring()
    assert cached.read_bytes() == vendor.zip


@pytest.mark.skipif(os.name != "posix", reason="a file in place of a directory, as POSIX has it")
def test_without_a_place_for_the_cache_the_build_goes_on(vendor, tmp_path, capsys):
    (tmp_path / "cache").write_text("in the way")
    vendor.release.write_bytes(vendor.zip)
    assert vendor.bring().endswith("from upstream's release")
    assert "lwIP's archive is not cached" in capsys.readouterr().err


def test_the_message_without_a_source_lists_every_place_and_the_remedy(vendor):
    with pytest.raises(vendor.fetch.VendorError) as raised:
        vendor.bring()
    lines = str(raised.value).splitlines()
    assert lines[0] == "lwIP 9 is needed to build pystack, and no place has it:"
    assert [line.split(":")[0] for line in lines[1:6]] == [
        f"  - {vendor.top / 'lwip'}",
        "  - PYSTACK_LWIP_SOURCE",
        "  - this user's cache",
        "  - Debian's source package",
        "  - upstream's release",
    ]
    assert "set PYSTACK_LWIP_SOURCE to its path" in lines[6]


def test_the_command_line_fails_with_that_message_alone(vendor, monkeypatch, capsys):
    monkeypatch.setattr(vendor.fetch, "__file__", str(vendor.top / "fetch.py"))
    monkeypatch.setattr(sys, "argv", ["fetch.py", "--output", str(vendor.output)])
    monkeypatch.setenv("XDG_CACHE_HOME", vendor.environ["XDG_CACHE_HOME"])
    monkeypatch.delenv("PYSTACK_LWIP_SOURCE", raising=False)
    assert vendor.fetch.main() == 1
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err.startswith("lwIP 9 is needed to build pystack")


@pytest.fixture
def patched(vendor) -> Vendor:
    write(vendor.top / "lwip", FILES)
    return vendor


def test_patches_apply_in_the_order_of_their_names(patched):
    patched.patch("02-later.patch", PATCH_AFTER_TWO)
    patched.patch("01-first.patch", PATCH_TWO)
    patched.bring()
    assert (patched.output / "src/core/tcp.c").read_bytes() == (
        b"one\nTWO\nand a half\nthree\nfour\nfive\nsix\nseven\nEIGHT\nnine\n"
    )


def test_patches_in_git_s_form_apply_too(patched):
    git = b"diff --git a/src/core/tcp.c b/src/core/tcp.c\nindex 1234567..89abcde 100644\n"
    patched.patch("01.patch", git + PATCH_TWO)
    patched.bring()
    assert b"TWO" in (patched.output / "src/core/tcp.c").read_bytes()


def test_pristine_leaves_the_patches_out(patched):
    patched.patch("01.patch", PATCH_TWO)
    patched.bring(pristine=True)
    assert files_in(patched.output) == FILES


def test_changed_patches_make_the_tree_anew_and_equal_ones_do_not(patched):
    patched.patch("01.patch", PATCH_TWO)
    patched.bring()
    before = (patched.output / "src/core/tcp.c").stat()
    assert patched.bring() == "lwIP 9 with 1 patches: up to date"
    assert (patched.output / "src/core/tcp.c").stat().st_ino == before.st_ino
    patched.patch("01.patch", PATCH_TWO.replace(b"TWO", b"zwei"))
    patched.bring()
    assert b"zwei" in (patched.output / "src/core/tcp.c").read_bytes()
    (patched.top / "patches" / "01.patch").unlink()
    patched.bring()
    assert files_in(patched.output) == FILES


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param(PATCH_AFTER_TWO, id="first hunk does not fit"),
        pytest.param(PATCH_AFTER_TWO.replace(b" TWO", b" two").replace(b"-eight", b"-acht"),
                     id="last hunk does not fit"),
        pytest.param(PATCH_TWO.replace(b"tcp.c", b"gone.c"), id="no such file"),
        pytest.param(PATCH_TWO.replace(b"-two\n+TWO", b"-zwei\n+two"), id="already applied"),
        pytest.param(PATCH_TWO.replace(b"--- a/src/core/tcp.c", b"--- /dev/null"), id="new file"),
        pytest.param(PATCH_TWO.replace(b" three\n", b""), id="hunk cut short"),
        pytest.param(b"no patch at all\n", id="not a patch"),
        pytest.param(b"", id="empty"),
    ],
)  # fmt: skip
def test_a_patch_that_does_not_apply_stops_the_build(patched, patch):
    patched.bring()
    patched.patch("07-wrong.patch", patch)
    with pytest.raises(patched.fetch.VendorError, match=r"07-wrong\.patch"):
        patched.bring()
    assert files_in(patched.output) == FILES  # the tree of the last good build


@pytest.mark.parametrize(
    ("patch", "place"),
    [
        (PATCH_AFTER_TWO, "src/core/tcp.c, hunk 1 of 2, line 2 (2 of 3 lines fit): "
                          "wanted 'TWO', found 'two'"),
        (PATCH_AFTER_TWO.replace(b" TWO", b" two").replace(b"-eight", b"-acht"),
         "src/core/tcp.c, hunk 2 of 2, line 8 (2 of 3 lines fit): wanted 'acht', found 'eight'"),
        (PATCH_TWO.replace(b"tcp.c", b"gone.c"), "src/core/gone.c: no such file"),
        (PATCH_TWO.replace(b"@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three",
                           b"@@ -1,2 +1,2 @@\n-eight\n+EIGHT\n nine"),
         "src/core/tcp.c, hunk 1 of 1: fits at line 8, not at 1"),
    ],
)  # fmt: skip
def test_it_says_which_hunk_does_not_fit_and_what_to_do(patched, patch, place):
    patched.patch("07-wrong.patch", patch)
    with pytest.raises(patched.fetch.VendorError) as error:
        patched.bring()
    first, second, *rest = str(error.value).splitlines()
    assert (first, second.strip()) == ("07-wrong.patch does not apply:", place)
    assert "vendor/patchqueue.py open" in "\n".join(rest)


def test_a_directory_that_is_not_ours_is_never_replaced(patched):
    write(patched.output, {"thesis.tex": b"years of work"})
    with pytest.raises(patched.fetch.VendorError, match="did not put there"):
        patched.bring()
    assert files_in(patched.output) == {"thesis.tex": b"years of work"}


def test_mirrors_are_found_in_both_of_apt_s_formats(fetch, tmp_path):
    download = importlib.import_module("download")
    write(
        tmp_path,
        {
            "sources.list": b"# deb http://commented/debian bookworm main\n"
            b"deb [arch=amd64 signed-by=/k.gpg] http://vendor.example/apt stable main\n"
            b"deb http://one.example/debian bookworm main contrib\n"
            b"deb http://one.example/debian-security bookworm-security main\n"
            b"deb cdrom:[Debian] bookworm main\n",
            "sources.list.d/a.list": b"deb https://two.example/ noble universe\n",
            "sources.list.d/debian.sources": b"Types: deb\n# a comment\n"
            b"URIs: https://three.example/debian/\n  mirror+https://four.example/debian\n"
            b"Suites: bookworm\nComponents: main\n\n"
            b"Types: deb\nURIs: http://five.example/debian\nSuites: sid\nComponents: main\n"
            b"Enabled: no\n",
        },
    )
    assert download.debian_mirrors(tmp_path) == [
        "http://one.example/debian",
        "https://three.example/debian/",
        "mirror+https://four.example/debian",
        "http://vendor.example/apt",
    ]
