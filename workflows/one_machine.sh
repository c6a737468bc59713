#!/bin/sh
# A session on one machine: outliers filtered, fixed pattern off, every file checked, and a look at the record.
#
#   sh one_machine.sh SESSION      a folder with the night's stacks (.mrcz, .mrc, .mrcs) and their .mdoc files
#
# A SESSION that is not there is simulated first, so that there is something to look at. Run again after an
# interruption or with new stacks: what is there and sound is kept.
set -eu

session=${1:?usage: one_machine.sh SESSION}
radius=${RADIUS:-12}

if [ ! -d "$session" ]; then
    echo "== a simulated session, as $session is not there"
    mrcz-dask simulate "$session" --stacks "${STACKS:-30}" --frames "${FRAMES:-20}" \
        --shape "${SHAPE:-320,320}" --dose 1 --seed 2018 --carbon "${CARBON:-17}"
fi

echo "== mrcz-dask koma --radius $radius, on a local cluster of this machine's cores"
status=0
mrcz-dask koma "$session" --radius "$radius" || status=$?
# 3: done, but some stacks could not be; they were named above
if [ "$status" -ne 0 ] && [ "$status" -ne 3 ]; then exit "$status"; fi

echo "== are all outputs sound?"
mrcz-dask verify "$session/koma" >"$session/koma/verify.txt" || { cat "$session/koma/verify.txt"; exit 1; }
echo "$(wc -l <"$session/koma/verify.txt" | tr -d ' ') files, every frame's checksum, header and record: sound"

first=$(find "$session/koma" -name '*.mrcz' | sort | head -n 1)
echo "== what the footer of one output records (the beginning)"
mrcz-dask provenance "$first" | sed -n '1,12p'

cat <<END
== where things are
  $session/koma/*.mrcz        corrected stacks; 'mrcz-dask provenance FILE' prints a footer
  $session/koma/session.zarr  sums and masks of every stack
  $session/koma/events.jsonl  what happened, when and where
  $session/koma/report.html   what the run gained and what to look at: open it in a browser
END
exit "$status"
