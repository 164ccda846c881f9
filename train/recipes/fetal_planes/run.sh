#!/usr/bin/env bash
# Pre-train, classify planes and score: bash run.sh PREPARED OUT; see README.md. A second call continues.
set -euo pipefail
PREPARED=${1:?expected the folder that prepare.py wrote}
OUT=${2:?expected a folder for the runs}
PYTHON=${PYTHON:-python}
DEVICE=${DEVICE:-auto}
SEED=${SEED:-0}
PRETRAIN_STEPS=${PRETRAIN_STEPS:-20000}
FINETUNE_STEPS=${FINETUNE_STEPS:-10000}
PRETEXT=${PRETEXT:-swap} # context restoration; baselines: autoencode, inpaint, position, jigsaw
TASK=${TASK:-classify} # or localize, with a table of boxes
LABELS=${LABELS:-classes.csv} # the table in PREPARED
PRETRAIN_OPTIONS=${PRETRAIN_OPTIONS:-} # options added to the command; of an option given twice, the last holds
FINETUNE_OPTIONS=${FINETUNE_OPTIONS:-} # options added to the command
INIT=${INIT:-} # a pre-training run to start from in place of a new one, or random
INDEX=${INDEX:-$OUT/index.json}

data=(--index "$INDEX" --split "$PREPARED/splits.json" --device "$DEVICE")
view=(--network sononet64 --dims 2 --spacing 1 4 4 --crop 1 240 320 --flips W --batch-size 32 --seed "$SEED")
pretext=(--pretext "$PRETEXT" --iterations 20 --patch 8 32)
case $PRETEXT in position | jigsaw) pretext=(--pretext "$PRETEXT") ;; esac

mkdir -p "$OUT"
[ -e "$INDEX" ] || "$PYTHON" -m dali_cr scan "$PREPARED/images.csv" --save "$INDEX"
if [ -z "$INIT" ]; then
    "$PYTHON" -m train.pretrain "${data[@]}" "${view[@]}" --out "$OUT/pretrain" --resume "${pretext[@]}" \
        --foreground 0 --steps "$PRETRAIN_STEPS" $PRETRAIN_OPTIONS
    INIT=$OUT/pretrain
fi
"$PYTHON" -m train.finetune "$TASK" "${data[@]}" "${view[@]}" --labels "$PREPARED/$LABELS" --columns plane \
    --out "$OUT/finetune" --resume --init "$INIT" --shift 16 --steps "$FINETUNE_STEPS" --evaluate-cases 1000 \
    $FINETUNE_OPTIONS
[ -e "$OUT/predicted/predict.json" ] || "$PYTHON" -m train.predict "$OUT/finetune" "${data[@]}" --out "$OUT/predicted"
"$PYTHON" -m train.result "$OUT/finetune" --out "$OUT/result"
