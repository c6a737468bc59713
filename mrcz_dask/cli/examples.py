"""Three lines for each command that can be pasted; its help and the reference show them."""

from __future__ import annotations

from typing import Any

EXAMPLES = {
    "": """
        mrcz-dask assess SESSION
        mrcz-dask koma SESSION --dry-run
        mrcz-dask koma SESSION""",
    "koma": """
        mrcz-dask koma SESSION --dry-run
        mrcz-dask koma SESSION --gain gain.mrc --gain-orient auto --format mrcs
        mrcz-dask koma SESSION --follow""",
    "status": """
        mrcz-dask status SESSION/koma
        mrcz-dask status SESSION/koma --watch
        mrcz-dask status SESSION/koma --json > status.json""",
    "report": """
        mrcz-dask report SESSION/koma
        mrcz-dask report SESSION/koma --figures figures
        mrcz-dask report */koma -o camera.html""",
    "export": """
        mrcz-dask export SESSION/koma --to relion --refined-gain SESSION
        mrcz-dask export SESSION/koma --to motioncor -o for_motioncor
        mrcz-dask export SESSION/koma --to cryosparc --pixel-size 0.83 --voltage 300 --cs 2.7""",
    "verify": """
        mrcz-dask verify SESSION/koma
        mrcz-dask verify SESSION/koma/STACK.mrcz
        mrcz-dask verify SESSION/koma --deep""",
    "recompress": """
        mrcz-dask recompress SESSION -o archive
        mrcz-dask recompress SESSION -o archive --codec zstd:9
        mrcz-dask recompress STACK.mrcz -o tiffs --format tiff""",
    "decompress": """
        mrcz-dask decompress STACK.mrcz -o plain
        mrcz-dask decompress SESSION/koma -o plain
        mrcz-dask decompress SESSION/koma -o plain --footer --no-sidecar""",
    "info": """
        mrcz-dask info STACK.mrcz
        mrcz-dask info SESSION
        mrcz-dask info STACK.tif --json""",
    "provenance": """
        mrcz-dask provenance SESSION/koma/STACK.mrcz
        mrcz-dask provenance SESSION/koma/STACK.mrcz --json
        mrcz-dask provenance SESSION/koma/*.mrcz | less""",
    "reproduce": """
        mrcz-dask reproduce SESSION/koma/STACK.mrcz
        mrcz-dask reproduce koma/STACK.mrcz --session SESSION
        mrcz-dask reproduce counted/STACK.mrcz --calibration counted""",
    "assess": """
        mrcz-dask assess SESSION
        mrcz-dask assess SESSION --only radius --radii 3,6,12
        mrcz-dask assess SESSION --only stacks,methods --json > assess.json""",
    "outliers": """
        mrcz-dask outliers SESSION -o filtered
        mrcz-dask outliers STACK.mrcz -o filtered
        mrcz-dask outliers SESSION -o filtered --rule paper""",
    "gain": """
        mrcz-dask gain orient SESSION --gain gain.mrc
        mrcz-dask gain estimate SESSION -o estimated.mrc
        mrcz-dask gain fit-gamma flats/*.mrc""",
    "gain estimate": """
        mrcz-dask gain estimate SESSION -o estimated.mrc
        mrcz-dask gain estimate SESSION -o estimated.mrc --stacks 500
        mrcz-dask gain estimate SESSION -o estimated.mrc --overwrite""",
    "gain orient": """
        mrcz-dask gain orient SESSION --gain gain.mrc
        mrcz-dask gain orient SESSION --gain gain.mrc -o turned.mrc
        mrcz-dask gain orient SESSION --gain gain.mrc --stacks 50 --json""",
    "gain fit-gamma": """
        mrcz-dask gain fit-gamma flats/*.mrc
        mrcz-dask gain fit-gamma flats/*.mrc --frame-time 0.05
        mrcz-dask gain fit-gamma flats/*.mrc --plot gamma.png""",
    "live": """
        mrcz-dask live SESSION -p workflows/live/drift.py
        mrcz-dask live --replay STACK.mrcz -p my_processor.py
        mrcz-dask live SESSION -p my_processor.py --store live.zarr --stay""",
    "count": """
        mrcz-dask count RAW -o counted
        mrcz-dask count RAW -o counted --dark dark.mrc --upsampling 2
        mrcz-dask count RAW -o counted --events --workers 4""",
    "events": """
        mrcz-dask events to-stack counted/STACK.events.zarr -o stacks
        mrcz-dask events to-stack counted/*.events.zarr -o stacks
        mrcz-dask events to-stack counted/*.events.zarr -o stacks --upsampling 2""",
    "events to-stack": """
        mrcz-dask events to-stack counted/STACK.events.zarr -o stacks
        mrcz-dask events to-stack counted/*.events.zarr -o stacks
        mrcz-dask events to-stack counted/*.events.zarr -o stacks --upsampling 2""",
    "init": """
        mrcz-dask init koma > session.toml
        mrcz-dask init count > count.toml
        mrcz-dask init live > live.toml""",
    "simulate": """
        mrcz-dask simulate SESSION
        mrcz-dask simulate SESSION --stacks 30 --frames 20 --shape 320,320 --carbon 17
        mrcz-dask simulate SESSION --session "tilt series" --seed 3""",
    "simulate-raw": """
        mrcz-dask simulate-raw RAW
        mrcz-dask simulate-raw RAW --stacks 4 --frames 200
        mrcz-dask simulate-raw RAW --occupancy 0.02 --shape 1024,1024""",
    "zarr-view": """
        mrcz-dask zarr-view SESSION
        mrcz-dask zarr-view SESSION/koma -o koma.zarr.json
        mrcz-dask zarr-view SESSION --recursive""",
    "cluster": """
        mrcz-dask cluster init cluster.toml
        mrcz-dask cluster script --queue-file cluster.toml
        mrcz-dask cluster check --queue-file cluster.toml""",
    "cluster init": """
        mrcz-dask cluster init
        mrcz-dask cluster init cluster.toml
        mrcz-dask cluster init ~/cluster.toml""",
    "cluster script": """
        mrcz-dask cluster script --queue-file cluster.toml
        mrcz-dask cluster script --cluster slurm --walltime 2:00:00
        mrcz-dask cluster script --cluster sge --job-memory 64GB""",
    "cluster check": """
        mrcz-dask cluster check --queue-file cluster.toml
        mrcz-dask cluster check SESSION --cluster slurm
        mrcz-dask cluster check --scheduler tcp://node17:8786""",
    "bench": """
        mrcz-dask bench codecs --help
        mrcz-dask bench codecs --doses 1
        mrcz-dask bench codecs --doses 0.5,1,2""",
}


def examples_of(name: str) -> list[str]:
    """Return the examples of a command, such as ``gain orient``; of the program where the name is empty."""
    return [line.strip() for line in EXAMPLES.get(name, "").splitlines() if line.strip()]


class WithExamples:
    """Base of commands and of groups of commands whose help ends with examples."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, then the examples in lines that nothing wraps."""
        super().format_help(ctx, formatter)  # type: ignore[misc]
        names: list[str] = []
        while ctx.parent is not None:
            names, ctx = [ctx.info_name, *names], ctx.parent
        if lines := examples_of(" ".join(names)):
            formatter.write("".join(["Examples:\n", *(f"  {line}\n" for line in lines)]))
