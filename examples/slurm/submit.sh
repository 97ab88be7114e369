#!/bin/sh
# Submits an audit: an array that measures the controls, one job that merges them into a null bank, an array that
# measures the images, and one job that merges these into the run. Each waits until the one before has succeeded.
# Give it again after a failure: tasks that are finished end at once, and the others continue.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/settings.sh"
mkdir -p "$WORK"
bank_parts=$(sbatch --parsable --array="1-$SHARDS" "$here/calibrate.sbatch")
bank=$(sbatch --parsable --dependency="afterok:$bank_parts" "$here/merge-bank.sbatch")
shards=$(sbatch --parsable --array="1-$SHARDS" --dependency="afterok:$bank" "$here/audit.sbatch")
run=$(sbatch --parsable --dependency="afterok:$shards" "$here/merge.sbatch")
echo "the report will be $WORK/run/report/index.html; jobs $bank_parts, $bank, $shards, $run"
