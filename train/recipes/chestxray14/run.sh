#!/usr/bin/env bash
# Pre-train, fine-tune and evaluate on ChestX-ray14: bash run.sh PREPARED OUT; see README.md. A second call continues.
set -euo pipefail
PREPARED=${1:?expected the folder that prepare.py wrote}
OUT=${2:?expected a folder for the runs}
PYTHON=${PYTHON:-python}
DEVICE=${DEVICE:-auto}
PRETRAIN_STEPS=${PRETRAIN_STEPS:-} # empty: the published 240 epochs
FINETUNE_STEPS=${FINETUNE_STEPS:-60000}
STEP_EVERY=${STEP_EVERY:-$((FINETUNE_STEPS / 2))} # halves the rate, as after 50 of the public code's 100 epochs
PRETRAIN_OPTIONS=${PRETRAIN_OPTIONS:-} # options added to the command; of an option given twice, the last holds
FINETUNE_OPTIONS=${FINETUNE_OPTIONS:-} # options added to the command
INIT=${INIT:-} # a pre-training run to start from in place of a new one, or random
ENCODER_WEIGHTS=${ENCODER_WEIGHTS:-random} # the encoder's weights before pre-training; the public code starts from imagenet

data=(--index "$OUT/index.json" --split "$PREPARED/splits.json" --device "$DEVICE")

mkdir -p "$OUT"
[ -e "$OUT/index.json" ] || "$PYTHON" -m dali_cr scan "$PREPARED/images.csv" --save "$OUT/index.json"
if [ -z "$INIT" ]; then
    "$PYTHON" -m train.pretrain --preset pcrlv2-2d "${data[@]}" --out "$OUT/pretrain" --resume \
        --encoder-weights "$ENCODER_WEIGHTS" ${PRETRAIN_STEPS:+--steps "$PRETRAIN_STEPS"} $PRETRAIN_OPTIONS
    INIT=$OUT/pretrain
fi
[ "$INIT" = random ] || ENCODER_WEIGHTS=random # those of INIT
"$PYTHON" -m train.finetune classify "${data[@]}" --labels "$PREPARED/classes.csv" --multilabel --out "$OUT/finetune" --resume \
    --init "$INIT" --network resnet18 --dims 2 --encoder-weights "$ENCODER_WEIGHTS" --normalize zscore-image \
    --crop 1 1024 1024 --shrink 1 4 4 --flips W --shift 32 --batch-size 64 --lr 1e-4 --warmup 0 --weight-decay 0 --clip 0 \
    --schedule step --step-every "$STEP_EVERY" --steps "$FINETUNE_STEPS" --evaluate-cases 2000 --metric auroc $FINETUNE_OPTIONS
[ -e "$OUT/predicted/predict.json" ] || "$PYTHON" -m train.predict "$OUT/finetune" "${data[@]}" --out "$OUT/predicted"
"$PYTHON" -m train.result "$OUT/finetune" --out "$OUT/result"
