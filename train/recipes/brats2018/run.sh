#!/usr/bin/env bash
# Pre-train, fine-tune and evaluate on BraTS 2018: bash run.sh PREPARED OUT; see README.md. A second call continues.
set -euo pipefail
PREPARED=${1:?expected the folder that prepare.py wrote}
OUT=${2:?expected a folder for the runs}
PYTHON=${PYTHON:-python}
DEVICE=${DEVICE:-auto}
SEED=${SEED:-0}
PRETRAIN_STEPS=${PRETRAIN_STEPS:-} # empty: the published 240 epochs
FINETUNE_STEPS=${FINETUNE_STEPS:-5000} # the 100 epochs of the public code, of 199 cases
STEP_EVERY=${STEP_EVERY:-$((FINETUNE_STEPS / 2))} # halves the rate, as after 50 epochs there
PRETRAIN_OPTIONS=${PRETRAIN_OPTIONS:-} # options added to the command; of an option given twice, the last holds
FINETUNE_OPTIONS=${FINETUNE_OPTIONS:-} # options added to the command
INIT=${INIT:-} # a pre-training run to start from in place of a new one, or random
INDEX=${INDEX:-$OUT/index.json}

data=(--index "$INDEX" --split "$PREPARED/splits.json" --device "$DEVICE")

mkdir -p "$OUT"
[ -e "$INDEX" ] || "$PYTHON" -m dali_cr scan "$PREPARED/images.csv" --save "$INDEX"
if [ -z "$INIT" ]; then
    "$PYTHON" -m train.pretrain --recipe pcrlv2 "${data[@]}" --out "$OUT/pretrain" --resume \
        --normalize percentile --batch-size 32 --lr 1e-3 --seed "$SEED" \
        ${PRETRAIN_STEPS:+--steps "$PRETRAIN_STEPS"} $PRETRAIN_OPTIONS
    INIT=$OUT/pretrain
fi
"$PYTHON" -m train.finetune segment "${data[@]}" --labels "$PREPARED/labels" --out "$OUT/finetune" --resume \
    --init "$INIT" --network nsunet-skips --normalize percentile --crop 112 128 112 --regions WT=1+2+4 TC=1+4 ET=4 \
    --flips D H W --loss dice-bce --batch-size 4 --lr 1e-4 --schedule step --step-every "$STEP_EVERY" --warmup 0 \
    --weight-decay 0 --clip 0 --seed "$SEED" --steps "$FINETUNE_STEPS" $FINETUNE_OPTIONS
[ -e "$OUT/predicted/predict.json" ] || "$PYTHON" -m train.predict "$OUT/finetune" "${data[@]}" --out "$OUT/predicted"
"$PYTHON" -m train.result "$OUT/finetune" --out "$OUT/result"
