"""How long a user waits for `evalkit --help`: CPU time beside Python alone and click alone.

    python tests/bench/start.py

Prints the least CPU time of 15 runs each, warm, and the ratios. Nothing is asserted.
"""

import resource
import subprocess
import sys

CLICK = "import click; click.Group('x', commands={'y': click.Command('y')}).main(['--help'])"
PROGRAMS = {
    "python -c pass": ["-c", "pass"],
    "click alone, --help": ["-c", CLICK],
    "evalkit --help": ["-m", "evalkit", "--help"],
    "evalkit": ["-m", "evalkit"],
}


def cpu_seconds(args):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *args], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    least = {name: min(cpu_seconds(args) for _ in range(15)) for name, args in PROGRAMS.items()}
    peer = least["click alone, --help"]
    for name, seconds in least.items():
        print(f"{name:22} {seconds:6.3f} s   {seconds / peer:5.2f} x click alone")


main()
