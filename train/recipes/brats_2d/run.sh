#!/usr/bin/env bash
# Pre-train, segment and score on slices of BraTS 2018: bash run.sh PREPARED OUT; see README.md. A second call continues.
set -euo pipefail
PREPARED=${1:?expected the folder that train.recipes.brats2018.prepare wrote}
OUT=${2:?expected a folder for the runs}
PYTHON=${PYTHON:-python}
DEVICE=${DEVICE:-auto}
SEED=${SEED:-0}
PRETRAIN_STEPS=${PRETRAIN_STEPS:-20000}
FINETUNE_STEPS=${FINETUNE_STEPS:-10000}
PRETEXT=${PRETEXT:-swap} # context restoration; baselines: autoencode, inpaint, position, jigsaw
PRETRAIN_OPTIONS=${PRETRAIN_OPTIONS:-} # options added to the command; of an option given twice, the last holds
FINETUNE_OPTIONS=${FINETUNE_OPTIONS:-} # options added to the command
INIT=${INIT:-} # a pre-training run with this PRETEXT to start from in place of a new one, or random
INDEX=${INDEX:-$OUT/index.json}
CACHE=${CACHE:-disk:$(dirname "$INDEX")/cache} # decompressed volumes, since a batch has slices of 32 cases

data=(--index "$INDEX" --split "$PREPARED/splits.json" --device "$DEVICE")
shared=(--network nsunet-skips --dims 2 --slices D --crop 1 128 128 --flips H W --batch-size 32 --cache "$CACHE" --seed "$SEED")
pretext=(--pretext "$PRETEXT" --iterations 20 --patch 4 16) transfer=encoder+decoder
case $PRETEXT in position | jigsaw) pretext=(--pretext "$PRETEXT") transfer=encoder ;; esac # these train no decoder
[ "$INIT" != random ] || transfer=encoder

mkdir -p "$OUT"
[ -e "$INDEX" ] || "$PYTHON" -m dali_cr scan "$PREPARED/images.csv" --save "$INDEX"
if [ -z "$INIT" ]; then
    "$PYTHON" -m train.pretrain "${data[@]}" "${shared[@]}" --out "$OUT/pretrain" --resume "${pretext[@]}" \
        --steps "$PRETRAIN_STEPS" $PRETRAIN_OPTIONS
    INIT=$OUT/pretrain
fi
"$PYTHON" -m train.finetune segment "${data[@]}" "${shared[@]}" --labels "$PREPARED/labels" --out "$OUT/finetune" --resume \
    --init "$INIT" --transfer "$transfer" --regions WT=1+2+4 TC=1+4 ET=4 --steps "$FINETUNE_STEPS" $FINETUNE_OPTIONS
[ -e "$OUT/predicted/predict.json" ] || "$PYTHON" -m train.predict "$OUT/finetune" "${data[@]}" --out "$OUT/predicted"
"$PYTHON" -m train.result "$OUT/finetune" --out "$OUT/result"
