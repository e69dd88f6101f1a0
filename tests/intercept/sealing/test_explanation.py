"""Why a machine does not permit a sealed run, and what to type."""

from __future__ import annotations

import errno
import os
import sys

import pytest

from aquila.intercept.sealing.explanation import Machine, explain_refusal, look_at_machine


@pytest.mark.parametrize(
    ("number", "machine", "likely", "to_type"),
    [
        (errno.ENOSPC, Machine(most_user_namespaces="0"), "max_user_namespaces is 0", "user.max_user_namespaces=10000"),
        (errno.ENOSPC, Machine(most_net_namespaces="0"), "max_net_namespaces is 0", "user.max_net_namespaces=10000"),
        (errno.ENOSPC, Machine(most_user_namespaces="9"), "are in use", "sudo sysctl -w"),
        (errno.EINVAL, Machine(), "CONFIG_USER_NS", "another kernel"),
        (errno.EPERM, Machine(restricted_by_apparmor=True), "Ubuntu", "apparmor_restrict_unprivileged_userns=0"),
        (errno.EPERM, Machine(userns_clone="0"), "unprivileged_userns_clone is 0", "unprivileged_userns_clone=1"),
        (errno.EPERM, Machine(has_seccomp_filter=True, is_root=True), "seccomp", "--network none"),
        (errno.ENOSYS, Machine(has_seccomp_filter=True), "container", "seccomp=unconfined"),
        (errno.EPERM, Machine(restricted_by_apparmor=True, is_root=True), "chroot", "outside of it"),
        (errno.EPERM, Machine(), "chroot", "as root"),
        (errno.EPIPE, Machine(), "nothing that Aquila checks", "dmesg"),
    ],
)
def test_the_likely_cause_comes_with_what_to_type(number: int, machine: Machine, likely: str, to_type: str) -> None:
    text = explain_refusal("unshare", number, machine)
    assert "unshare: " in text
    assert f"({errno.errorcode[number]})" in text
    assert likely in text
    assert to_type in text
    assert "nothing was run" in text
    assert "AQUILA_GUARD=all" in text


def test_this_machine_is_read() -> None:
    machine = look_at_machine()
    assert machine.is_root is (os.geteuid() == 0)
    if sys.platform == "linux":
        assert int(machine.most_net_namespaces or "-1") >= 0
