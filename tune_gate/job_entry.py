"""What a job does on the cluster: `python -m tune_gate.job_entry search|resume|answer …`, sent by `tune_gate.jobs`."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tune_gate.errors import Misuse, TuneGateError

#: What our code imports wherever it runs, by the names of modules.
NEEDED = ("optuna", "pandas", "pyarrow", "pydantic", "ray", "rich", "torch", "typer", "yaml")


def search(study: Path, folder: Path) -> int:
    """Launch the search that `study` describes in `folder`, or go on with the one that is there; the exit code."""
    if (folder / "study.json").exists():
        return resume(folder)
    from rich.console import Console  # noqa: PLC0415

    from tune_gate import api  # noqa: PLC0415  pandas is slow to import

    return _concluded(folder, api.launch(study, folder, None, Console(width=120), "auto").ended)


def resume(folder: Path) -> int:
    """Go on with the search in `folder`; the exit code."""
    from rich.console import Console  # noqa: PLC0415

    from tune_gate import api  # noqa: PLC0415

    return _concluded(folder, api.resume(folder, Console(width=120), "auto").ended)


def answer(mark: str, command: Sequence[str]) -> int:
    """Run `tune-gate COMMAND` and print what it says in one line that begins with `mark`, for `answer_in`."""
    done = subprocess.run([sys.executable, "-m", "tune_gate", *command], capture_output=True, check=False)  # noqa: S603  our own module
    record = {"code": done.returncode, "out": base64.b64encode(done.stdout).decode(), "err": done.stderr.decode()}
    print(f"{mark}{json.dumps(record)}", flush=True)  # noqa: T201  into the job's log
    return 0


def answer_in(log: str, mark: str) -> bytes:
    """What the command printed, from the log of a job that ran `answer`.

    Raises:
        Misuse: the command was refused, with its words.
        TuneGateError: it failed, or the job died before it.
    """
    found = re.search(rf"^{mark}(.*)$", log, re.MULTILINE)
    if found is None:
        last = next((line for line in reversed(log.splitlines()) if line.strip()), "it said nothing")
        raise TuneGateError(f"the cluster did not get as far as the command: {last}")
    record = json.loads(found[1])
    if record["code"] == 0:
        return base64.b64decode(record["out"])
    words = next((line for line in reversed(record["err"].splitlines()) if line.strip()), "it said nothing")
    refused = Misuse if record["code"] == 2 else TuneGateError
    raise refused(words.removeprefix("tune-gate: "))


def _concluded(folder: Path, ended: str) -> int:
    print(json.dumps({"study": str(folder), "ended": ended}), flush=True)  # noqa: T201  into the job's log
    return 0


def main() -> None:
    """Do what the job was sent for."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(
            f"the cluster's Python lacks {', '.join(missing)}; `tune-gate submit --install` brings what is missing"
        )
    task, *arguments = sys.argv[1:]
    match task, arguments:
        case "search", [study, folder]:
            sys.exit(search(Path(study), Path(folder)))
        case "resume", [folder]:
            sys.exit(resume(Path(folder)))
        case "answer", [mark, *command]:
            sys.exit(answer(mark, command))
    sys.exit(f"no such task of a job: {task}")


if __name__ == "__main__":
    main()
