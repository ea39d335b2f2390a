"""``ranker doctor``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ranker.cli.options import say, show


@click.command("doctor")
@click.option("--quick", is_flag=True, help="Measure nothing: neither speed nor how long 'ranker reproduce' takes.")
def doctor_command(quick: bool) -> None:
    """Look at what is installed and what works, and say what to do about the rest.

    It also tells how fast the machine is and how long 'ranker reproduce' takes here, by a probe of some seconds.
    Exit status 1 where 'ranker reproduce' would fail.
    """
    from ranker.doctor import diagnose

    findings = []
    for finding in diagnose(Path.cwd(), measure=not quick):
        findings.append(finding)
        mark = "FAIL" if finding.blocks else "mind" if finding.fix else "ok"
        show(f"{mark:<4}  {finding.subject}: {finding.found}")
        if finding.fix:
            show(f"      to mend it: {finding.fix}")
    blocking = sum(finding.blocks for finding in findings)
    if blocking:
        say(f"{blocking} of these would stop 'ranker reproduce'.")
        sys.exit(1)
    say("'ranker reproduce' has all it needs.")
