"""Runs one server as its child and ends it when the standard input is closed.

The course's process holds the other end of that pipe. However it dies, kill -9 included, the operating system
closes the pipe. Run as a script, with the standard library only: ``python -I _keeper.py DIRECTORY PROGRAM
…``. A server that ends by itself leaves its directory, and in it its log, to be read.
"""

import shutil
import subprocess
import sys
import threading
from pathlib import Path


def main() -> int:
    """Start the program, wait for its end or for that of the input, and clear up."""
    directory = Path(sys.argv[1])
    told_to_end = threading.Event()
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            sys.argv[2:], cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )

        def watch() -> None:
            sys.stdin.buffer.read()
            told_to_end.set()
            server.terminate()
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.kill()

        threading.Thread(target=watch, daemon=True).start()
        status = server.wait()
    if told_to_end.is_set():
        shutil.rmtree(directory, ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
