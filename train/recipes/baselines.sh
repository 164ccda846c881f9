#!/usr/bin/env bash
# Run a recipe of context restoration from random weights and after each pretext, and compare the scores:
# bash baselines.sh RECIPE PREPARED OUT; see README.md. A second call continues.
set -euo pipefail
RECIPE=${1:?expected abdominal_ct, brats_2d or fetal_planes}
PREPARED=${2:?expected the folder that prepare.py wrote}
OUT=${3:?expected a folder for the runs}
PYTHON=${PYTHON:-python}
PRETEXTS=${PRETEXTS:-swap autoencode inpaint position jigsaw}
SEEDS=${SEEDS:-0}

export PYTHON INDEX="$OUT/index.json"
for seed in $SEEDS; do
    SEED=$seed INIT=random bash "$(dirname "$0")/$RECIPE/run.sh" "$PREPARED" "$OUT/random/seed$seed"
    for pretext in $PRETEXTS; do
        SEED=$seed INIT="" PRETEXT=$pretext bash "$(dirname "$0")/$RECIPE/run.sh" "$PREPARED" "$OUT/$pretext/seed$seed"
    done
done
"$PYTHON" -m train.recipes.compare "$OUT"
