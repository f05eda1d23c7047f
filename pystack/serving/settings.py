"""The settings of the services, by their sysctls' names."""

from __future__ import annotations

__all__ = ["CONFLICT_CHECK", "SETTINGS"]

CONFLICT_CHECK = "net.ipv4.dhcp_conflict_check"
SETTINGS = {
    CONFLICT_CHECK: "Probe a leased address before using it, which takes 9 s (RFC 5227 2.1)",
}
