"""What the kernel says about the machine, its cores and a process. Never starts or ends anything."""

import datetime
import os
import platform
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CALIBRATION_BYTES, CALIBRATION_ROUNDS = 100, 20_000
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class CpuTime:
    """CPU seconds a process has used so far."""

    total: float
    user: float
    system: float


def process_cpu(pid: int) -> CpuTime:
    """utime and stime of /proc/<pid>/stat; their sum refined to nanoseconds by the process's CPU clock."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]) / TICKS_PER_S, int(fields[12]) / TICKS_PER_S
    try:
        # The kernel's encoding of "CPU clock of process pid", as clock_getcpuclockid(3) returns it.
        total = time.clock_gettime((~pid << 3) | 2)
    except OSError:
        total = user + system
    return CpuTime(total, user, system)


def resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no VmRSS for process {pid}")


@dataclass
class CoreTime:
    """Seconds one core has spent since boot."""

    busy: float
    steal: float


def core_times() -> dict[int, CoreTime]:
    times = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[:8])
            busy = (user + nice + system + irq + softirq) / TICKS_PER_S
            times[int(name[3:])] = CoreTime(busy, steal / TICKS_PER_S)
    return times


def allowed_cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def describe() -> dict[str, str]:
    """Everything a reader needs to judge the numbers; no host name, no paths."""
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "virtualised": "yes" if _is_virtual() else "no",
        "memory": f"{memory_kb / 1024 / 1024:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "transparent huge pages": _first_line("/sys/kernel/mm/transparent_hugepage/enabled"),
        "speculation mitigations": ", ".join(_mitigations()) or "none",
        "loopback TCP send + receive": f"{loopback_cpu_us():.1f} us CPU for 100 bytes",
        "load average at start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "commit": _commit(),
    }


def loopback_cpu_us() -> float:
    """CPU time of one send and one receive of 100 bytes. At pipeline 1 the servers do little else, so this tells how far
    the absolute numbers of two machines can be compared."""
    payload = b"x" * CALIBRATION_BYTES
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname())
        receiver, _ = listener.accept()
        with sender, receiver:
            start = time.process_time()
            for _ in range(CALIBRATION_ROUNDS):
                sender.sendall(payload)
                receiver.recv(2 * CALIBRATION_BYTES)
            return (time.process_time() - start) / CALIBRATION_ROUNDS * 1e6


def _mitigations() -> list[str]:
    """The vulnerabilities that the kernel pays for on this CPU."""
    folder = Path("/sys/devices/system/cpu/vulnerabilities")
    states = {path.name: _first_line(str(path)) for path in sorted(folder.glob("*"))}
    return [name for name, state in states.items() if not state.startswith(("Not affected", "unknown"))]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model", "cpu model")):
            return line.partition(":")[2].strip()
    return platform.machine()


def _is_virtual() -> bool:
    return " hypervisor" in Path("/proc/cpuinfo").read_text()


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().splitlines()[0].strip()
    except (OSError, IndexError):
        return "unknown"


def _commit() -> str:
    try:
        command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
