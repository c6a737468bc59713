"""Names among which library and command line let choose; each has an entry in the table named beside it."""

from typing import Literal

# `engine/queues.py`
System = Literal["slurm", "sge", "pbs", "lsf"]
# `numerics/outliers/rules.py`
Rule = Literal["fdr", "paper"]
# `export/commands.py`
Program = Literal["relion", "motioncor", "cryosparc", "warp", "aretomo"]
