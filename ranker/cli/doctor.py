"""``ranker doctor``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ranker.cli.options import say


@click.command("doctor")
def doctor_command() -> None:
    """Look at what is installed and what works, and say what to do about the rest.

    Exit status 1 where 'ranker reproduce' would fail.
    """
    from ranker.diagnosis import diagnose

    findings = []
    for finding in diagnose(Path.cwd()):
        findings.append(finding)
        mark = "FAIL" if finding.blocks else "mind" if finding.fix else "ok"
        click.echo(f"{mark:<4}  {finding.subject}: {finding.found}")
        if finding.fix:
            click.echo(f"      to mend it: {finding.fix}")
    blocking = sum(finding.blocks for finding in findings)
    if blocking:
        say(f"{blocking} of these would stop 'ranker reproduce'.")
        sys.exit(1)
    say("'ranker reproduce' has all it needs.")
