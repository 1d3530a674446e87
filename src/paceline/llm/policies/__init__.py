"""Speculation policies, one file each (``goodput`` is ours), and what the goodput policy is made of. Pure."""

from __future__ import annotations

from paceline.llm.speculation import POLICIES, Policy, PolicySetup


def make_policy(name: str, setup: PolicySetup) -> Policy:
    """The policy called ``name``, a number for so many drafts a step; ConfigError lists the known ones."""
    if name.isdecimal():
        from paceline.llm.policies.fixed import FixedLength

        return FixedLength(setup, int(name))
    return POLICIES[name](setup)
