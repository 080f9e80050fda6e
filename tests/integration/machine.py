"""A fresh Debian, made by debootstrap, and systemd as its first process: a machine in a folder.

It shares this machine's network, and nothing else: it has its own processes, mounts and names, may
change neither the network nor the kernel, and ends with the test. Root only, Linux only.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

RELEASE = "bookworm"
BASE = "ca-certificates,python3-pip,python3-venv"
SYSTEM = "cloud-init,dbus,iproute2,systemd-sysv"

MAKE_SECONDS = 900
COMMAND_SECONDS = 600

#: Where the processes of the machine are counted, so that it is no part of ours.
GROUPS = [Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")]
GROUP = "kpiggybank-machine"

#: Nothing that reaches beyond the machine: no module, no clock, no interface, no device.
DENIED = "-sys_module,-sys_time,-sys_boot,-sys_rawio,-net_admin,-mknod,-syslog,-mac_admin"

OWN_PROCESSES = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
OWN_NAMES = ("--uts", "--ipc", "--cgroup")

BOOT = r"""
tree=$0
mount --make-rprivate /
mount --bind "$tree" "$tree"
cd "$tree"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    touch dev/$device
    mount --bind /dev/$device dev/$device
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
hostname kpiggybank-machine
mkdir -p .old
pivot_root . .old
umount -l .old
exec env -i container=kpiggybank PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    setpriv --bounding-set "$1" /lib/systemd/systemd --log-target=console </dev/null
"""


@attrs.frozen
class Tree:
    """The files of a machine."""

    path: Path

    def run(self, *command: str, environ: dict[str, str] | None = None) -> str:
        """What a command in the tree says; it must end with 0. Nothing of systemd runs there."""
        done = subprocess.run(
            [*OWN_PROCESSES, "--mount-proc", f"--root={self.path}", *command],
            env={"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file there."""
        there = self.path / path.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text)

    def copy(self, path: Path) -> Tree:
        """Another one like it."""
        subprocess.run(["cp", "-a", str(self.path), str(path)], check=True)
        return Tree(path)


def make_tree(path: Path) -> Tree:
    """A fresh Debian with the little that every cloud image has, cloud-init included."""
    command = ["debootstrap", "--variant=minbase", f"--include={BASE}", RELEASE, str(path)]
    made = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=MAKE_SECONDS
    )
    assert made.returncode == 0, made.stdout
    tree = Tree(path)
    # This machine's way to the registries: its name server and the authorities that it trusts.
    shutil.copy("/etc/resolv.conf", path / "etc" / "resolv.conf")
    trusted = Path("/etc/ssl/certs/ca-certificates.crt")
    tree.write(str(trusted), trusted.read_text())
    tree.write("/etc/pip.conf", f"[global]\ncert = {trusted}\n")
    packages = SYSTEM.split(",")
    tree.run("apt-get", "update", "-qq")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
    tree.run(*install, *packages, environ=quiet)
    # It must not touch the network, which is this machine's, nor look for disks to grow.
    tree.write(
        "/etc/cloud/cloud.cfg.d/99-test.cfg",
        "network: {config: disabled}\ndatasource_list: [NoCloud]\nmanage_resolv_conf: false\n"
        "growpart: {mode: 'off'}\nresize_rootfs: false\nlocale: false\n",
    )
    return tree


@attrs.frozen
class Machine:
    """A tree whose systemd runs."""

    tree: Tree
    pid: int

    @property
    def entry(self) -> list[str]:
        """What is put before a command so that it runs there."""
        root = f"--root=/proc/{self.pid}/root"
        environ = ["env", "-i", "--chdir=/", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        return ["nsenter", f"--target={self.pid}", "--all", root, *environ]

    def run(self, *command: str, check: bool = True) -> str:
        """What a command there says; it must end with 0 if that is to be checked."""
        done = subprocess.run(
            [*self.entry, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout


@contextmanager
def booted(tree: Tree) -> Iterator[Machine]:
    """Boot a tree; the block's end turns the machine off."""
    (group, *_) = [found for found in GROUPS if (found / "cgroup.procs").exists()]
    group = group / GROUP
    group.mkdir(exist_ok=True)
    joined = ["/bin/sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "sh"]
    with (tree.path.parent / f"{tree.path.name}.log").open("ab") as log:
        starter = subprocess.Popen(
            [*joined, *OWN_PROCESSES, *OWN_NAMES, "bash", "-ec", BOOT, str(tree.path), DENIED],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        pid = _first_process(starter)
        try:
            yield Machine(tree, pid)
        finally:
            os.kill(pid, signal.SIGKILL)  # and, by that, all its processes
            starter.wait()
    finally:
        if starter.returncode is None:
            starter.kill()
            starter.wait()
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)


def _first_process(starter: subprocess.Popen[bytes]) -> int:
    """The number of systemd here, once it has taken the place of what prepares its tree."""
    children = Path(f"/proc/{starter.pid}/task/{starter.pid}/children")
    while starter.poll() is None:
        for pid in children.read_text().split():
            if os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "systemd":
                return int(pid)
        os.sched_yield()
    raise AssertionError("the machine did not start")
