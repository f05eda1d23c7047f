"""Guests for a gateway: a job that each does with busybox, and the machines that it runs on."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

from outside import NAME

BUSYBOX = shutil.which("busybox")
_KERNELS = "vmlinuz-*-cloud-amd64"

# Gets an address, resolves, downloads, serves: what it finds stands in lines that begin with GUEST.
JOB = f"""
bb ip link set lo up
bb ip link set "$1" up
bb udhcpc -i "$1" -n -q -f -s "$2" >/dev/null 2>&1
echo GUEST address $(bb ip -4 -o addr show "$1" | bb awk '{{print $4}}')
set -- "$@" $(bb nslookup -type=a {NAME} 10.0.2.3 | bb awk '/^Addr/ {{a=$2}} END {{print a}}')
echo GUEST resolved $4
echo GUEST ping $(bb ping -c 1 -W 5 203.0.113.1 | bb grep -c 'bytes from')
echo GUEST hash $(bb wget -q -O - http://203.0.113.1/$3 | bb sha256sum)
echo GUEST serves
echo hello from the guest | bb nc -l -p 80
"""
LEASE = """#!BUSYBOX sh
if [ "$1" = bound ]; then
    BUSYBOX ip addr add $ip/$mask dev $interface
    BUSYBOX ip route add default via $router
fi
"""


def cloud_kernel() -> tuple[Path, str] | None:
    """Debian's kernel for virtual machines, and its release; None: it isn't installed."""
    found = sorted(Path("/boot").glob(_KERNELS))
    return (found[-1], found[-1].name.removeprefix("vmlinuz-")) if found else None


def _modules(release: str, *names: str) -> list[Path]:
    """Modules and what they need, in the order of loading."""
    root = Path("/lib/modules") / release
    needs = {}
    for line in (root / "modules.dep").read_text().splitlines():
        module, _, others = line.partition(":")
        needs[module] = others.split()
    wanted: list[str] = []

    def add(module: str) -> None:
        for other in reversed(needs[module]):
            add(other)
        if module not in wanted:
            wanted.append(module)

    for name in names:
        add(next(one for one in needs if one.endswith(f"/{name}.ko")))
    return [root / one for one in wanted]


class _Archive:
    """A cpio archive, as the kernel takes it (Documentation/driver-api/early-userspace)."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self._count = 0

    def add(self, name: str, data: bytes, mode: int, device: tuple[int, int] = (0, 0)) -> None:
        self._count += 1
        encoded = name.encode() + b"\0"
        fields = (
            self._count, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0
        )  # fmt: skip
        self.bytes += b"070701" + b"".join(b"%08x" % one for one in fields) + encoded
        self.bytes += bytes(-len(self.bytes) % 4) + data
        self.bytes += bytes(-len(self.bytes) % 4)


def initramfs(path: Path, release: str, mebibytes: int) -> None:
    """Writes what the machine begins with: busybox, the network's driver, and the job."""
    assert BUSYBOX is not None
    init = f"""#!/bin/busybox sh
bb() {{ /bin/busybox "$@"; }}
bb mount -t proc proc /proc
for module in /modules/*; do bb insmod $module; done
set -- eth0 /lease {mebibytes}
{JOB}
bb poweroff -f
"""
    archive = _Archive()
    for folder in ("bin", "dev", "modules", "proc"):
        archive.add(folder, b"", 0o40755)
    archive.add("dev/console", b"", 0o20600, (5, 1))
    archive.add("dev/null", b"", 0o20666, (1, 3))
    archive.add("bin/busybox", Path(BUSYBOX).read_bytes(), 0o100755)
    archive.add("init", init.encode(), 0o100755)
    archive.add("lease", LEASE.replace("BUSYBOX", "/bin/busybox").encode(), 0o100755)
    for number, module in enumerate(_modules(release, "virtio_pci", "virtio_net")):
        archive.add(f"modules/{number:02}", module.read_bytes(), 0o100644)
    archive.add("TRAILER!!!", b"", 0)
    path.write_bytes(gzip.compress(bytes(archive.bytes), 1))


def qemu(kernel: Path, initial: Path, *wire: str) -> subprocess.Popen[str]:
    """A virtual machine, on a processor that QEMU plays: no KVM is needed."""
    words = [
        "qemu-system-x86_64", "-M", "pc,accel=tcg", "-cpu", "max", "-m", "256", "-nodefaults",
        "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
        "-kernel", str(kernel), "-initrd", str(initial),
        "-append", "console=ttyS0 quiet panic=-1",
        *wire, "-device", "virtio-net-pci,netdev=n",
    ]  # fmt: skip
    return subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def uml(folder: Path, wire: Path, mebibytes: int) -> subprocess.Popen[str]:
    """A User-Mode Linux, whose root file system is this machine's, read only."""
    import sys

    from pystack.lab.hosts.linux import AGENTS
    from pystack.lab.hosts.uml import NARROW
    from pystack.lab.provision.uml import found

    kernel = found()
    assert kernel is not None
    init, lease = folder / "init", folder / "lease"
    lease.write_text(LEASE.replace("BUSYBOX", str(BUSYBOX)))
    init.write_text(
        f'#!{BUSYBOX} sh\nbb() {{ {BUSYBOX} "$@"; }}\nbb mount -t proc proc /proc\n'
        f"set -- vec0 {lease} {mebibytes}\n{JOB}\nbb poweroff -f\n"
    )
    for one in (init, lease):
        one.chmod(0o755)
    private = folder / "uml"
    private.mkdir()
    words = [
        sys.executable, "-ESsB", str(AGENTS / "uml_start.py"), str(private), str(kernel.program),
        "mem=256M", "rootfstype=hostfs", "rootflags=/", "ro", "quiet", "con=null", "con0=null,fd:1",
        "ssl=null", f"uml_dir={private}",
        f"vec0:transport=bess,dst={wire},depth=128,gro=0,mac=02:00:00:00:00:09",
        f"GLIBC_TUNABLES=glibc.cpu.hwcaps=-{NARROW.replace(',', ',-')}", f"init={init}",
    ]  # fmt: skip
    return subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )  # fmt: skip
