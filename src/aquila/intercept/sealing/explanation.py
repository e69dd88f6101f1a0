"""Explains why the kernel refuses to seal a run, and what to type."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts about a machine that decide whether it permits namespaces."""

    is_root: bool = False
    has_seccomp_filter: bool = False
    restricted_by_apparmor: bool = False
    userns_clone: str | None = None
    """Debian's switch: 0 forbids user namespaces to all users but root. None if the kernel has no such switch."""
    most_user_namespaces: str | None = None
    most_net_namespaces: str | None = None


def look_at_machine() -> Machine:
    """Read these facts of this machine."""
    return Machine(
        is_root=sys.platform == "linux" and os.geteuid() == 0,
        has_seccomp_filter="\nSeccomp:\t2\n" in (_read("/proc/self/status") or ""),
        restricted_by_apparmor=_read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1",
        userns_clone=_read("/proc/sys/kernel/unprivileged_userns_clone"),
        most_user_namespaces=_read("/proc/sys/user/max_user_namespaces"),
        most_net_namespaces=_read("/proc/sys/user/max_net_namespaces"),
    )


def _read(path: str) -> str | None:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return None


def explain_refusal(step: str, number: int, machine: Machine) -> str:
    """Return the message for a refusal. ``step`` is what the kernel refused, ``number`` its errno."""
    name = errno.errorcode.get(number, str(number))
    why, what_to_do = _find_cause(number, machine)
    return (
        "aquila_guard = sealed: this run may not enter a network namespace of its own, so nothing was run\n"
        "\n"
        f"  refused    {step}: {os.strerror(number)} ({name})\n"
        f"  likely     {why}\n"
        f"  to allow   {what_to_do}\n"
        "  without    AQUILA_GUARD=all, which refuses in Python alone"
    )


def _find_cause(number: int, machine: Machine) -> tuple[str, str]:
    if number == errno.ENOSPC:
        for kind, most in (("user", machine.most_user_namespaces), ("net", machine.most_net_namespaces)):
            if most == "0":
                return f"user.max_{kind}_namespaces is 0", f"sudo sysctl -w user.max_{kind}_namespaces=10000"
        return (
            "all namespaces that user.max_user_namespaces and user.max_net_namespaces allow are in use",
            "raise both with sudo sysctl -w",
        )
    if number in (errno.EINVAL, errno.ENOSYS) and not machine.has_seccomp_filter:
        return "this kernel was built without namespaces (CONFIG_USER_NS, CONFIG_NET_NS)", "use another kernel"
    if machine.restricted_by_apparmor and not machine.is_root:
        return (
            "AppArmor keeps namespaces from programs without a profile, as on Ubuntu 24.04",
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        )
    if machine.userns_clone == "0" and not machine.is_root:
        return "kernel.unprivileged_userns_clone is 0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    if machine.has_seccomp_filter:
        return (
            "a seccomp filter refuses namespaces, as that of a container or of a systemd service",
            "start the container with --network none, which seals its runs; or with --security-opt seccomp=unconfined",
        )
    if number not in (errno.EPERM, errno.EACCES):
        return "unknown: nothing that Aquila checks on this machine forbids it", "see the kernel's log (dmesg)"
    return (
        "a security module, or a chroot, in which there are no user namespaces",
        "run pytest outside of it, or as root",
    )
