"""The command `mrcz-dask` without its wait for imports: a process that has them forks itself for each call.

A command is a process of its own, with the folder, environment, input and output of its caller, the signals
that are sent to the caller, and an exit code that the caller takes over.
"""

import atexit
import contextlib
import gc
import importlib
import marshal
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import numba

ROOT = Path(__file__).parents[1]
LAYERS = ("cli", "correction", "counting", "engine", "formats", "gain", "numerics", "report", "session")

# This starts for each command, so that it imports next to nothing.
CALLER = """#!{python} -IS
import marshal, os, signal, socket, sys
talk = socket.socket(socket.AF_UNIX)
talk.connect({address!r})
socket.send_fds(talk, [marshal.dumps((os.getcwd(), dict(os.environ), sys.argv))], [0, 1, 2])
command = int(talk.recv(16))
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: os.kill(command, number))
code = int(talk.recv(16))
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@contextlib.contextmanager
def forking() -> Iterator[Path]:
    """Yield the path of the command, which can be called until the end of the block."""
    with tempfile.TemporaryDirectory() as folder:
        path, address = Path(folder) / "mrcz-dask", f"{folder}/calls"
        path.write_text(CALLER.format(python=sys.executable, address=address))
        path.chmod(0o755)
        starting = [sys.executable, __file__, address]
        with subprocess.Popen(starting, stdout=subprocess.PIPE, start_new_session=True) as server:
            assert server.stdout is not None and server.stdout.readline()
            try:
                yield path
            finally:
                server.kill()


def preloaded() -> Iterator[str]:
    """Yield the names of the modules that nearly every command or worker imports."""
    for layer in LAYERS:
        package = importlib.import_module(f"mrcz_dask.{layer}")
        yield from (module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."))


def serve(address: str) -> None:
    """Import what commands need, then fork for each call, until killed."""
    for module in preloaded():
        importlib.import_module(module)
    os.fsync = os.fdatasync = lambda handle: None  # as in conftest.py
    numba.njit(lambda: None)()  # what Numba imports when it is first used
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    gc.collect()
    gc.freeze()  # what is collected no more is not copied either
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that answer
    while True:
        talk, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            return answer(talk)
        talk.close()


def answer(talk: socket.socket) -> None:
    """Fork the command; here, send its process id and in the end its exit code; there, run it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    asked, files, _, _ = socket.recv_fds(talk, 1 << 20, 3)
    command = os.fork()
    if command:
        for file in files:  # a pipe ends with the command
            os.close(file)
        with contextlib.suppress(OSError):  # the caller is gone
            talk.sendall(str(command).encode())
            talk.sendall(str(os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])).encode())
        os._exit(0)
    talk.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    folder, environment, sys.argv = marshal.loads(asked)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    from mrcz_dask.cli.app import main

    code: object = 1
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    threading._shutdown()  # as at the end of Python, which would also take a second to tear its modules down
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else code is not None)


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    serve(sys.argv[1])
