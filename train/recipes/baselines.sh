#!/usr/bin/env bash
# Run a recipe from random weights and after each pretext, and compare the scores: bash baselines.sh RECIPE PREPARED OUT;
# see README.md. A second call continues.
set -euo pipefail
RECIPE=${1:?expected abdominal_ct, brats_2d, brats2018, fetal_planes or lits}
PREPARED=${2:?expected the folder that prepare.py wrote}
OUT=${3:?expected a folder for the runs}
PYTHON=${PYTHON:-python}
case $RECIPE in
    brats2018 | lits) known=pcrlv2 ;; # their run.sh has no other
    *) known="swap autoencode inpaint position jigsaw" ;;
esac
PRETEXTS=${PRETEXTS:-$known}
SEEDS=${SEEDS:-0}

for pretext in $PRETEXTS; do
    case " $known " in
        *" $pretext "*) ;;
        *) echo "baselines: expected PRETEXTS of $known for $RECIPE, got $pretext" >&2 && exit 2 ;;
    esac
done

export PYTHON INDEX="$OUT/index.json"
for seed in $SEEDS; do
    SEED=$seed INIT=random bash "$(dirname "$0")/$RECIPE/run.sh" "$PREPARED" "$OUT/random/seed$seed"
    for pretext in $PRETEXTS; do
        SEED=$seed INIT="" PRETEXT=$pretext bash "$(dirname "$0")/$RECIPE/run.sh" "$PREPARED" "$OUT/$pretext/seed$seed"
    done
done
"$PYTHON" -m train.recipes.compare "$OUT"
