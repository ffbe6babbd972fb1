"""Where commands put what they made: a file, or standard output."""

from __future__ import annotations

import sys
from pathlib import Path

#: Exit code of an interruption, as the shell reports one.
INTERRUPTED = 130


def write_output(content: bytes | str, output: Path | None) -> None:
    """Write `content` to the file `output`, or to standard output without one."""
    from analysis.files import write_atomic  # noqa: PLC0415  with it the command line starts slower

    if output is not None:
        write_atomic(output, content)
    elif isinstance(content, bytes):
        sys.stdout.buffer.write(content)
    else:
        sys.stdout.write(content)
