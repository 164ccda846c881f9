#!/usr/bin/env bash
# Pre-train, fine-tune and evaluate on ChestX-ray14: bash run.sh PREPARED OUT; see README.md. A second call continues.
set -euo pipefail
PREPARED=${1:?expected the folder that prepare.py wrote}
OUT=${2:?expected a folder for the runs}
PYTHON=${PYTHON:-python}
DEVICE=${DEVICE:-auto}
PRETRAIN_STEPS=${PRETRAIN_STEPS:-} # empty: the published 240 epochs
FINETUNE_STEPS=${FINETUNE_STEPS:-60000}
PRETRAIN_OPTIONS=${PRETRAIN_OPTIONS:-} # options added to the command; of an option given twice, the last holds
FINETUNE_OPTIONS=${FINETUNE_OPTIONS:-} # options added to the command
INIT=${INIT:-} # a pre-training run to start from in place of a new one, or random

data=(--index "$OUT/index.json" --split "$PREPARED/splits.json" --device "$DEVICE")

mkdir -p "$OUT"
[ -e "$OUT/index.json" ] || "$PYTHON" -m dali_cr scan "$PREPARED/images.csv" --save "$OUT/index.json"
if [ -z "$INIT" ]; then
    "$PYTHON" -m train.pretrain --recipe pcrlv2 "${data[@]}" --out "$OUT/pretrain" --resume \
        --dims 2 --restoration-head paper --normalize window 0 255 --foreground 0 --epoch-samples 1 --batch-size 64 --lr 1e-2 \
        --crop 1 224 224 --sizes 1 1024 1024 1 896 896 1 736 736 1 576 576 \
        --local-crop 1 96 96 --local-sizes 1 560 560 1 448 448 1 336 336 1 232 232 \
        --patch 1 1 4 32 4 32 --iterations 20 --scale 0.1 --degrees 10 --flips W ${PRETRAIN_STEPS:+--steps "$PRETRAIN_STEPS"} \
        $PRETRAIN_OPTIONS
    INIT=$OUT/pretrain
fi
"$PYTHON" -m train.finetune classify "${data[@]}" --labels "$PREPARED/classes.csv" --multilabel --out "$OUT/finetune" --resume \
    --init "$INIT" --network nsunet --dims 2 --normalize window 0 255 --crop 1 1024 1024 --shrink 1 4 4 --flips W --shift 32 \
    --batch-size 64 --lr 1e-4 --steps "$FINETUNE_STEPS" --evaluate-cases 2000 $FINETUNE_OPTIONS
[ -e "$OUT/predicted/predict.json" ] || "$PYTHON" -m train.predict "$OUT/finetune" "${data[@]}" --out "$OUT/predicted"
"$PYTHON" -m train.result "$OUT/finetune" --out "$OUT/result"
