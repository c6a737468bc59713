#!/bin/sh
# A facility's night, from cron or a batch queue: every session folder below ROOT, one after the other.
#
#   sh nightly.sh ROOT OUT        e.g. 15 6 * * *  sh nightly.sh /data/last-night /data/normalized
#
# Inputs are never touched. Each session gets OUT/NAME with its outputs, its list of stacks as JSON, and a
# log. A bad stack does not stop its session, a bad session does not stop the night: the exit code says that
# somebody should look, and OUT/night.txt at what.
set -eu

root=${1:?usage: nightly.sh ROOT OUT}
out=${2:?usage: nightly.sh ROOT OUT}
mkdir -p "$out"
: >"$out/night.txt"
worst=0

for session in "$root"/*/; do
    [ -d "$session" ] || continue
    name=$(basename "$session")
    mkdir -p "$out/$name"
    status=0
    # --json: for the facility's database; progress and messages go to the log; WORKERS: all cores unless set
    mrcz-dask koma "$session" --radius "${RADIUS:-12}" --recursive --write "${WRITE:-recompressed}" \
        ${WORKERS:+--workers "$WORKERS"} -o "$out/$name" --json >"$out/$name/koma.json" 2>"$out/$name/koma.log" || status=$?
    if [ "$status" -eq 0 ] || [ "$status" -eq 3 ]; then
        mrcz-dask verify "$out/$name" >"$out/$name/verify.txt" 2>&1 || status=$?
    fi
    case $status in
        0) text="all done" ;;
        3) text="some stacks are bad, see koma.json and verify.txt" ;;
        *) text="failed: $(tail -n 1 "$out/$name/koma.log")" ;;
    esac
    echo "$name: exit $status, $text" | tee -a "$out/night.txt"
    if [ "$status" -ne 0 ]; then worst=3; fi
done
exit "$worst"
