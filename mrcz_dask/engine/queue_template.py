"""Template of the queue settings file that `mrcz-dask cluster init` writes."""

from mrcz_dask.engine.queues import SYSTEMS

TEMPLATE = f"""\
# How mrcz-dask uses your cluster. Edit, then:
#
#   mrcz-dask cluster script --queue-file FILE     the job that would be submitted
#   mrcz-dask cluster check --queue-file FILE      submits one small job, says what works and what does not
#   mrcz-dask koma SESSION --queue-file FILE       the run; options on the command line win over this file
#
# Lines with # before a name show its default.

system = "slurm"                # {", ".join(SYSTEMS)}

# Jobs: so many, or "MIN:MAX", as many as there are stacks for.
jobs = "1:4"
# Of each job. One worker for each core; without memory a job asks for what the stacks of the session need
# (K2 movies: 1.5 GB for each core).
cores = 4
# memory = "8GB"
walltime = "4h"                 # 90m, 8h, 1d 12h, 08:00:00

# queue = "night"               # partition of SLURM; the system's default without
# account = "lab"               # project of SGE and LSF
# interface = "ib0"             # network between the nodes; that of the default route without
# name = "mrcz-dask"            # of the jobs

# Workers end by themselves before the wall-time, not all at once: others go on with their stacks, and a new
# job takes their place. By default a tenth of the wall-time before its end (30 s to 15 min).
# lifetime = "3h 40m"
# stagger = "5m"

# A run ends when it has had no worker for so long.
# wait = "1h"

# A folder that all nodes see, for the logs of jobs and the certificates of a run.
# directory = "~/.mrcz-dask"
# A folder of the node for what workers put aside, such as "/scratch/${{USER}}".
# local_directory = ""
# Interpreter of the workers; the one that runs the command without.
# python = ""

# Lines of shell before the workers start, and more for the head of the script (without #SBATCH).
# prologue = ["module load python/3.12"]
# directives = ["--exclusive", "--constraint=avx2"]
# SGE and PBS: what -l asks for, instead of cores and memory. SGE: where several cores of a node are given.
# resources = "h_vmem=2G"
# parallel_environment = "smp"

# Connections are encrypted, with certificates made for each run. Without, whoever reaches a port of the
# scheduler or a worker can run programs as you.
# tls = true
# The dashboard listens on loopback, at any free port: `cluster check` prints the tunnel to it.
# dashboard = "127.0.0.1:0"
"""
