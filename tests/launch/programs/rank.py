"""A rank for the launcher's tests: ``rank.py FOLDER WAY``. It leaves its process id in FOLDER and then

wait      waits until it is ended
stubborn  waits, and ignores SIGTERM and SIGINT
exit      rank 1 ends with exit code 3 once all ranks are there, the others wait
signal    rank 1 kills itself once all ranks are there, the others wait stubbornly
orphan    starts a process in a session of its own that ignores SIGTERM, then ends well
report    prints its rank, threads and CPUs, then ends well
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

folder, way = Path(sys.argv[1]), sys.argv[2]
rank = int(os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ["PMI_RANK"])
size = int(os.environ.get("OMPI_COMM_WORLD_SIZE") or os.environ["PMI_SIZE"])
if way in ("stubborn", "signal"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
if way == "orphan":
    program = ("import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
               "print('ready', flush=True)\ntime.sleep(60)")
    child = subprocess.Popen([sys.executable, "-S", "-c", program],
                             start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)
    child.stdout.readline()
    (folder / f"orphan{rank}").write_text(str(child.pid))
    sys.exit(0)
if way == "report":
    print(json.dumps({"rank": rank, "threads": os.environ["OMP_NUM_THREADS"], "extra": os.environ.get("EXTRA"),
                      "cpus": sorted(os.sched_getaffinity(0))}), flush=True)
    print(f"rank {rank} writes to stderr", file=sys.stderr, flush=True)
    sys.exit(0)
temporary = folder / f".rank{rank}"
temporary.write_text(str(os.getpid()))
temporary.rename(folder / f"rank{rank}")
if rank == 1 and way in ("exit", "signal"):
    while len(list(folder.glob("rank*"))) < size:
        time.sleep(0.01)
    if way == "exit":
        sys.exit(3)
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(60)
