#!/usr/bin/env bash
# Pre-train, fine-tune and evaluate on LiTS: bash run.sh PREPARED OUT; see README.md. A second call continues.
set -euo pipefail
PREPARED=${1:?expected the folder that prepare.py wrote}
OUT=${2:?expected a folder for the runs}
PYTHON=${PYTHON:-python}
DEVICE=${DEVICE:-auto}
SEED=${SEED:-0}
PRETRAIN_STEPS=${PRETRAIN_STEPS:-} # empty: the published 240 epochs
FINETUNE_STEPS=${FINETUNE_STEPS:-11500} # the published 500 epochs of about 90 cases
PRETRAIN_OPTIONS=${PRETRAIN_OPTIONS:-} # options added to the command; of an option given twice, the last holds
FINETUNE_OPTIONS=${FINETUNE_OPTIONS:-} # options added to the command
INIT=${INIT:-} # a pre-training run to start from in place of a new one, or random
INDEX=${INDEX:-$OUT/index.json}

data=(--index "$INDEX" --split "$PREPARED/splits.json" --device "$DEVICE")

mkdir -p "$OUT"
[ -e "$INDEX" ] || "$PYTHON" -m dali_cr scan "$PREPARED/images.csv" --save "$INDEX"
if [ -z "$INIT" ]; then
    "$PYTHON" -m train.pretrain --recipe pcrlv2 "${data[@]}" --out "$OUT/pretrain" --resume \
        --normalize window -200 200 --spacing 1 1 1 --batch-size 32 --lr 1e-3 --seed "$SEED" \
        ${PRETRAIN_STEPS:+--steps "$PRETRAIN_STEPS"} $PRETRAIN_OPTIONS
    INIT=$OUT/pretrain
fi
"$PYTHON" -m train.finetune segment "${data[@]}" --labels "$PREPARED/labels" --names "$PREPARED/names.json" \
    --out "$OUT/finetune" --resume --init "$INIT" --network nsunet-skips --normalize window -200 200 --spacing 1 1.5 1.5 \
    --crop 64 128 128 --regions liver=1+2 tumour=2 --flips D H W --loss tversky --batch-size 4 --lr 1e-4 \
    --schedule constant --warmup 0 --weight-decay 0 --clip 0 --seed "$SEED" --steps "$FINETUNE_STEPS" $FINETUNE_OPTIONS
[ -e "$OUT/predicted/predict.json" ] || "$PYTHON" -m train.predict "$OUT/finetune" "${data[@]}" --out "$OUT/predicted"
"$PYTHON" -m train.result "$OUT/finetune" --out "$OUT/result"
