"""lwIP's own unit tests, built with our patches: what they change is what they say they change.

The tests are in lwIP's archive (test/unit) and use check (libcheck-dev; Debian: check).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
LEFT_OUT = (
    "slipif.c", "zepif.c", "lowpan6",  # no test of theirs, and they need drivers
    "nd6.c",  # nd6_alone.c includes it
)  # fmt: skip

# What fails with our patches, and why it should.
NO_ACK = "the segment has no ACK flag, and is dropped (RFC 9293 3.10.7.4; patch 0030)"
BACKWARDS = "a name's pointers lead back, not to what follows (RFC 1035 4.1.4; patch 0183)"
FIRST_PROBE = "the first window probe comes after the RTO (RFC 9293 3.8.6.1; patch 0002)"
DIFFERENT = {
    "test_tcp_recv_inseq": NO_ACK,
    "test_tcp_recv_inseq_trim": NO_ACK,
    "test_tcp_active_close": NO_ACK,
    "test_tcp_imultaneous_close": NO_ACK,
    "test_tcp_process_rst_seqno": "in SYN-SENT a reset needs an ACK (RFC 9293 3.10.7.3; 0030)",
    "test_tcp_gen_rst_in_TIME_WAIT": "a SYN there gets an ACK, no reset (RFC 5961 4.2; 0080)",
    "test_tcp_tx_full_window_lost_from_unsent": FIRST_PROBE,
    "test_tcp_persist_split": FIRST_PROBE,
    "test_ip4_icmp_replylen_first_8": "an error quotes all that 576 octets hold (RFC 1812; 0280)",
    "test_dhcp_nak_no_endmarker": "a message without END is read, and so this NAK (0180)",
    "test_dhcp_invalid_overload": "a wrong option costs itself, not the message (0180)",
    "readname_jump_later": BACKWARDS,
    "readname_jump_maxdepth": BACKWARDS,
}


LIBRARIES = ("-lcheck", "-lsubunit", "-lm", "-lrt", "-lpthread")


def has_check(compiler: str, folder: Path) -> bool:
    """Whether a program that uses check can be built: other libraries have a check.h, too."""
    source = folder / "has_check.c"
    source.write_text(
        "#include <check.h>\nint main(void) { return srunner_create(NULL) == NULL; }\n"
    )
    command = [compiler, "-o", str(folder / "has_check"), str(source), *LIBRARIES]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tests, compiled."""
    compiler = shutil.which("cc")
    if compiler is None or not has_check(compiler, tmp_path_factory.mktemp("check")):
        pytest.skip("a C compiler and check are needed: apt-get install gcc check")
    with tempfile.TemporaryDirectory() as name:
        folder, lwip = Path(name), Path(name) / "lwip"
        subprocess.run(
            [sys.executable, str(ROOT / "vendor/fetch.py"), "--output", str(lwip)],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        (folder / "config.h").touch()  # check's own build makes one
        sources = [
            *(lwip / "test/unit").rglob("*.c"),
            *(lwip / "src/core").rglob("*.c"),
            *(lwip / "src/api").glob("*.c"),
            *(lwip / "src/apps/mdns").glob("*.c"),
            *(lwip / "src/apps/mqtt").glob("*.c"),
            *(lwip / "src/netif").rglob("*.c"),
            HERE / "tunables.c",
            HERE / "nd6_alone.c",
        ]
        includes = (lwip / "test/unit", lwip / "test/unit/arch", lwip / "src/include", lwip, HERE,
                    ROOT / "bindings/lwip", folder)  # fmt: skip
        built = subprocess.run(
            [
                # Upstream's options know none of the port's hooks; there every prefix is a /64.
                compiler, "-DLWIP_IP6_PREFIX_LENGTH(netif, position)=64",
                "-w", "-O0", "-o", str(folder / "tests"),
                *(f"-I{one}" for one in includes),
                *(str(one) for one in sources if not any(x in one.name for x in LEFT_OUT)),
                *LIBRARIES,
            ],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert built.returncode == 0, built.stderr[-4000:]
        yield folder / "tests"


@pytest.mark.slow
def test_all_pass_but_what_the_patches_are_about(program: Path) -> None:
    ran = subprocess.run(
        [str(program)], cwd=program.parent,  # where it leaves a report in XML
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "CK_FORK": "yes"},
    )  # fmt: skip
    counts = re.search(r"Checks: (\d+), Failures: (\d+), Errors: (\d+)", ran.stdout)
    assert counts, ran.stdout + ran.stderr
    failed = set(re.findall(r":[FE]:\w+:(\w+):", ran.stdout))
    assert int(counts[1]) > 130
    assert failed == set(DIFFERENT), ran.stdout
