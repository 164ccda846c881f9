#!/usr/bin/env bash
# Pre-train, classify candidates and score one fold of LUNA16: bash run.sh PREPARED OUT; see README.md. A second call continues.
set -euo pipefail
PREPARED=${1:?expected the folder that prepare.py wrote}
OUT=${2:?expected a folder for the runs}
PYTHON=${PYTHON:-python}
DEVICE=${DEVICE:-auto}
FOLD=${FOLD:-0}
PRETRAIN_STEPS=${PRETRAIN_STEPS:-} # empty: the published 240 epochs
FINETUNE_STEPS=${FINETUNE_STEPS:-30000}
FROC=${FROC:-yes} # no for candidates without positions in scans
PRETRAIN_OPTIONS=${PRETRAIN_OPTIONS:-} # options added to the command; of an option given twice, the last holds
FINETUNE_OPTIONS=${FINETUNE_OPTIONS:-} # options added to the command
INIT=${INIT:-} # a pre-training run to start from in place of a new one, or random

fold=$PREPARED/fold$FOLD
candidates=(--index "$OUT/candidates.json" --split "$fold/splits.json" --device "$DEVICE")

mkdir -p "$OUT"
[ -e "$OUT/candidates.json" ] || "$PYTHON" -m dali_cr scan "$fold/images.csv" --save "$OUT/candidates.json"
if [ -z "$INIT" ]; then
    [ -e "$OUT/scans.json" ] || "$PYTHON" -m dali_cr scan "$PREPARED/scans.csv" --save "$OUT/scans.json"
    "$PYTHON" -m train.pretrain --recipe pcrlv2 --index "$OUT/scans.json" --split "$fold/splits.json" --device "$DEVICE" \
        --out "$OUT/pretrain" --resume --normalize window -1000 1000 --spacing 1 1 1 --batch-size 32 --lr 1e-3 \
        ${PRETRAIN_STEPS:+--steps "$PRETRAIN_STEPS"} $PRETRAIN_OPTIONS
    INIT=$OUT/pretrain
fi
"$PYTHON" -m train.finetune classify "${candidates[@]}" --labels "$fold/classes.csv" --out "$OUT/finetune" --resume \
    --init "$INIT" --network nsunet --normalize window -1000 1000 --spacing own --crop 48 48 48 --flips D H W \
    --batch-size 32 --lr 1e-4 --steps "$FINETUNE_STEPS" --evaluate-cases 2000 --metric auroc $FINETUNE_OPTIONS
[ -e "$OUT/predicted/predict.json" ] || "$PYTHON" -m train.predict "$OUT/finetune" "${candidates[@]}" --out "$OUT/predicted"
[ "$FROC" = no ] || "$PYTHON" -m train.recipes.luna16.froc "$PREPARED" "$OUT/finetune/scores.csv" --folds "$FOLD" --out "$OUT/froc.json"
"$PYTHON" -m train.result "$OUT/finetune" --out "$OUT/result"
