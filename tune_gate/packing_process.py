"""A trial that is measured: `python -m tune_gate.packing_process`, as many at once as are to be compared.

It reads a JSON object, `{"trainable": …, "order": …}`, from the first line of its standard input, trains an epoch to
warm up, says `ready`, waits for another line, and trains the epoch that counts. Its answer is one JSON object: seconds
and bytes, or an error. When its standard input ends, so does it, and its files go: whoever asked is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from trainables.errors import TrainableError
from tune_gate.failures import last_line
from tune_gate.trainable import trainable_class

READY = "ready"

#: Folders above a measured trial's: of the trials, of those side by side, and of the whole measurement.
_LEVELS = 3


def measure(trainable: str, order: dict[str, Any], begin: threading.Event, answers: TextIO) -> dict[str, Any]:
    """Train the second epoch of the trial that `order` describes when `begin` is set; what it took."""
    trial = trainable_class(trainable)(config=order)
    try:
        trial.step()
        _say(READY, answers)
        begin.wait()
        started = time.perf_counter()
        trial.step()
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "memory": own_memory(), **_gpu_memory()}
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(trial.logdir)  # Ray makes one where it was given none
            Path(trial.logdir).parent.rmdir()  # if it was not there before


def own_memory(status: Path = Path("/proc/self/status")) -> int:
    """The bytes that this process has taken at most, without the files that it maps, which its like share."""
    try:
        text = status.read_text()
    except OSError:
        return 0
    sizes = {name: int(kilobytes) * 1024 for name, kilobytes in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    return max(0, sizes.get("VmHWM", 0) - sizes.get("RssFile", 0) - sizes.get("RssShmem", 0))


def _gpu_memory() -> dict[str, int]:
    if "torch" not in sys.modules:  # a trainable of the user's own may do without
        return {}
    from trainables.device import gpu_memory  # noqa: PLC0415

    found = gpu_memory()
    return {"gpu_memory": found.peak, "gpu_total": found.total}


def _listen(begin: threading.Event, folder: Path) -> None:
    sys.stdin.readline()
    begin.set()
    sys.stdin.readline()  # nothing more comes: the end of the input
    clear(folder)
    os._exit(1)


def clear(folder: Path) -> None:
    """Remove a measured trial's folder, and those above it that were made for the measurement, once they are empty."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # others lie there still, and the last of them clears it
        for above in folder.parents[:_LEVELS]:
            above.rmdir()


def _say(line: str, answers: TextIO) -> None:
    answers.write(line + "\n")
    answers.flush()


def main() -> int:
    """Measure one trial; the exit code."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a trainable prints is no answer
    asked = json.loads(sys.stdin.readline())
    begin = threading.Event()
    threading.Thread(target=_listen, args=(begin, Path(asked["order"]["folder"])), daemon=True).start()
    try:
        answer = measure(asked["trainable"], asked["order"], begin, answers)
    except (TrainableError, MemoryError) as error:
        answer = {"error": last_line(str(error)) or type(error).__name__}
    except Exception as error:  # noqa: BLE001  the boundary of the process
        answer = {"error": f"{type(error).__name__}: {last_line(str(error))}"}
    _say(json.dumps(answer), answers)
    return int("error" in answer)


if __name__ == "__main__":
    os._exit(main())  # the thread that listens would hold the interpreter up
