"""Fuzz readers for as long as wanted: `python -m tests.fuzz --seconds 60 mrc tiff`.

With atheris, changes follow what code they reach; without, they are random. What breaks the law is written to
build/fuzz; move it to tests/fuzz/cases under the same name, where it stays as a test.
"""

import argparse
import hashlib
import logging
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FOUND = Path("build/fuzz")
LONGEST, MEMORY = 20, 4000  # seconds and MB of one case


def main() -> None:
    """Fuzz each target in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="of tests/fuzz/targets.py; default: all")
    parser.add_argument("--seconds", type=int, default=20, help="for each target")
    parser.add_argument("--random", action="store_true", help="without atheris")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    FOUND.mkdir(parents=True, exist_ok=True)
    guided = find_spec("atheris") is not None and not options.random
    if guided:
        os.environ["NUMBA_DISABLE_JIT"] = "1"  # the compiler knows no calls of atheris
    if options.inside:
        logging.disable()  # libraries that report every damage
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY << 20, MEMORY << 20))
        (_guided if guided else _random)(options.targets[0], options.seconds)
        return
    from tests.fuzz.targets import TARGETS  # imported inside by what follows the code

    failed = []
    for name in options.targets or TARGETS:
        command = [sys.executable, "-m", "tests.fuzz", "--inside", name, "--seconds", str(options.seconds)]
        done = subprocess.run(
            command + ["--random"] * options.random, check=False, capture_output=True, text=True
        )
        text = (done.stdout + done.stderr).strip().splitlines()
        ran = [line for line in text if "runs" in line or " in " in line][-1:]
        print(
            f"{name}: {'held' if done.returncode == 0 else f'BROKEN ({done.returncode})'}; {' '.join(ran)}",
            flush=True,
        )
        if done.returncode < 0:  # the process itself was ended: by a signal, or for its memory
            _keep(name, _last(name).read_bytes())
        _last(name).unlink(missing_ok=True)
        if done.returncode:
            failed.append(name)
            print("\n".join(text[-30:]), flush=True)
    sys.exit(1 if failed else 0)


def _random(name: str, seconds: int) -> None:
    """Try random damage; go on after a break of the law, and keep one case for each place in the code."""
    from tests.fuzz.mutating import mutated
    from tests.fuzz.targets import TARGETS

    target, places, count = TARGETS[name], set(), 0
    signal.signal(signal.SIGALRM, _too_long)
    with TemporaryDirectory() as seeds_folder, TemporaryDirectory() as folder:
        seeds = target.seeds(Path(seeds_folder))
        for data in seeds:
            target.read(data, Path(folder))  # imports what is imported late
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            data = mutated(seeds[count % len(seeds)], count)
            _last(name).write_bytes(data)
            count += 1
            signal.alarm(LONGEST)
            try:
                target.check(data, Path(folder))
            except Exception as error:  # noqa: BLE001 - the law says which may be raised
                place = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)][-1]
                if (type(error), place) not in places:
                    places.add((type(error), place))
                    _keep(name, data)
                    traceback.print_exc()
            finally:
                signal.alarm(0)
    print(f"{len(places)} breaks in {count} runs")
    sys.exit(1 if places else 0)


def _too_long(number: int, frame: Any) -> None:
    raise TimeoutError(f"longer than {LONGEST} s")


def _last(name: str) -> Path:
    return FOUND / f"last-{name}"


def _keep(name: str, data: bytes) -> None:
    (FOUND / f"{name}-{hashlib.sha256(data).hexdigest()[:10]}").write_bytes(data)


def _guided(name: str, seconds: int) -> None:
    """Let atheris look for inputs that reach new code; the first break of the law ends it."""
    import atheris

    with atheris.instrument_imports(include=["mrcz_dask"]):
        from tests.fuzz.mutating import TOKENS
        from tests.fuzz.targets import TARGETS

        target, scratch = TARGETS[name], TemporaryDirectory()
        corpus, folder = Path(scratch.name) / "corpus", Path(scratch.name) / "read"
        corpus.mkdir()
        folder.mkdir()
        for k, data in enumerate(target.seeds(folder)):
            (corpus / str(k)).write_bytes(data)
            target.read(data, folder)  # imports what is imported late

    def check(data: bytes) -> None:
        _last(name).write_bytes(data)
        try:
            target.check(data, folder)
        except Exception:
            _keep(name, data)
            raise

    words = Path(scratch.name) / "words"
    words.write_text("".join(f'"{"".join(f"{chr(92)}x{b:02x}" for b in token[:64])}"\n' for token in TOKENS))
    limits = [f"-max_total_time={seconds}", f"-timeout={LONGEST}", f"-rss_limit_mb={MEMORY}"]
    places = [f"-dict={words}", f"-artifact_prefix={FOUND}/{name}-", str(corpus)]
    atheris.Setup([sys.argv[0], *limits, "-max_len=20000", *places], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
