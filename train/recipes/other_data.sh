#!/usr/bin/env bash
# Run the nearest recipe on other data, small enough for one CPU core: bash other_data.sh DATA OUT NAME...; see README.md, "On
# other data". Each NAME (hc18, organs3d, boxes, nodules, mednist, hippocampus, hippocampus3d, mandible) is run after
# pre-training and from random weights, and is compared with baselines. A second call continues. RESULTS=FOLDER keeps the results.
set -euo pipefail
DATA=${1:?expected the folder of the data sets}
OUT=${2:?expected a folder for the runs}
shift 2
export PYTHON=${PYTHON:-python} DEVICE=${DEVICE:-cpu} OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
recipes=$(dirname "$0")

# run RECIPE NAME INDEX...: both runs of a recipe; they share the indexes, which are in the prepared folder.
run() {
    local recipe=$1 prepared=$OUT/$2/data name
    for name in "$2" "$2-random"; do
        mkdir -p "$OUT/$name"
        for index in "${@:3}"; do cp "$prepared/$index" "$OUT/$name/$index"; done
        [ "$name" = "$2" ] && init='' || init=random
        INIT=$init bash "$recipes/$recipe/run.sh" "$prepared" "$OUT/$name"
    done
    [ -e "$OUT/$2/baseline.json" ] || "$PYTHON" -m train.baseline "$OUT/$2/finetune" --out "$OUT/$2/baseline.json"
    [ -n "${RESULTS:-}" ] || return 0
    mkdir -p "$RESULTS"
    cp "$OUT/$2/result.json" "$RESULTS/$2.json"
    cp "$OUT/$2-random/result.json" "$RESULTS/$2-random.json"
    cp "$OUT/$2/baseline.json" "$RESULTS/$2-baseline.json"
}

# arrange LAYOUT DATA VALUES... PREPARED: put labelled volumes in a published layout, and prepare them.
arrange() {
    local source=$DATA/$2 prepared=${*: -1}
    [ ! -e "$(dirname "$prepared")/runs/index.json" ] || return 0
    "$PYTHON" -m train.recipes.arrange "$1" --images "$source/images" --labels "$source/labels" --values "${@:3:$#-3}" \
        --out "$(dirname "$prepared")/published"
    "$PYTHON" -m "train.recipes.$1.prepare" "$(dirname "$prepared")/published" "$prepared"
}

# segment RECIPE NAME PRETEXT: both runs of a segmentation recipe and their table.
segment() {
    local runs=$OUT/$2/runs
    PRETEXTS=$3 bash "$recipes/baselines.sh" "$1" "$OUT/$2/data" "$runs"
    [ -n "${RESULTS:-}" ] || return 0
    mkdir -p "$RESULTS"
    cp "$runs/$3/seed0/result.json" "$RESULTS/$2.json"
    cp "$runs/random/seed0/result.json" "$RESULTS/$2-random.json"
}

# scan FILE OPTION...; split FILE OPTION...: make a file once.
scan() { [ -e "$1" ] || "$PYTHON" -m dali_cr scan "${@:2}" --save "$1"; }
split() { [ -e "$1" ] || "$PYTHON" -m train.splits "${@:2}" -o "$1"; }

hc18() { # one box of the head in an ultrasound image
    local data=$DATA/hc18_fetal_head prepared=$OUT/hc18/data
    scan "$prepared/index.json" "$data/images" --pattern "*.png"
    split "$prepared/splits.json" "$data/images" --pattern "*.png" --table "$data/annotations.csv" --subject "^(\d+)"
    cp "$data/annotations.csv" "$prepared/boxes.csv"
    export TASK=localize LABELS=boxes.csv PRETRAIN_STEPS=150 FINETUNE_STEPS=150
    local size="--filters 16 --spacing 1 4 4 --crop 1 80 112 --batch-size 16 --threads 1"
    export PRETRAIN_OPTIONS="$size --patch 4 16" FINETUNE_OPTIONS="$size --columns box --shift 4"
    run fetal_planes hc18 index.json
}

organs3d() { # which of seven organs is in the middle of a CT patch
    local data=$OUT/organs3d/images prepared=$OUT/organs3d/data
    [ -e "$data" ] || "$PYTHON" -m train.data.medmnist "$DATA/openkbp_organpatch3d/organpatch3d.npz" --out "$data" \
        --names "$DATA/openkbp_organpatch3d/labels.json" --axes PLI
    scan "$prepared/index.json" "$data/images"
    split "$prepared/splits.json" "$data/images" --table "$data/classes.csv"
    cp "$data/classes.csv" "$prepared/classes.csv"
    export TASK=classify LABELS=classes.csv PRETRAIN_STEPS=60 FINETUNE_STEPS=100
    local size="--dims 3 --filters 8 --spacing 1 1 1 --crop 32 32 32 --batch-size 8 --threads 1 --flips"
    export PRETRAIN_OPTIONS="--patch 4 8 --evaluate-samples 16 $size" FINETUNE_OPTIONS="--columns label --shift 4 $size"
    run fetal_planes organs3d index.json
}

boxes() { # boxes of seven organs in head-and-neck CT
    local data=$DATA/openkbp_hn_ct prepared=$OUT/boxes/data
    scan "$prepared/index.json" "$data/images"
    split "$prepared/splits.json" "$data/images" --table "$data/boxes.csv"
    cp "$data/boxes.csv" "$prepared/boxes.csv"
    echo "--spacing 12 12 12 --crop 32 64 64" > "$prepared/view.txt"
    export PRETRAIN_STEPS=30 FINETUNE_STEPS=50
    # The files hold HU + 1000.
    local size="--filters 4 --normalize window 840 1240 --threads 1"
    export PRETRAIN_OPTIONS="$size --patch 3 8 --evaluate-samples 8" FINETUNE_OPTIONS="$size --shift 4 --lr 3e-3"
    run abdominal_ct boxes index.json
}

nodules() { # nodule or not, in a slice of a CT patch
    local data=$DATA/luna16_candidates2d prepared=$OUT/nodules/data
    scan "$prepared/candidates.json" "$data" --pattern "**/*.jpg"
    cp "$prepared/candidates.json" "$prepared/scans.json"
    mkdir -p "$prepared/fold0"
    # The table has no validation part: every tenth row of the training part.
    awk -F, -v OFS=, '{ sub(/\r$/, "") } $3 == "train" && ++n % 10 == 0 { $3 = "val" } 1' "$data/labels.csv" > "$prepared/fold0/classes.csv"
    split "$prepared/fold0/splits.json" "$data" --pattern "**/*.jpg" --table "$prepared/fold0/classes.csv"
    export FROC=no PRETRAIN_STEPS=60 FINETUNE_STEPS=120
    local size="--dims 2 --filters 8 --batch-size 16 --normalize window 0 255 --threads 1"
    export PRETRAIN_OPTIONS="$size --spacing 1 1 1 --crop 1 32 32 --sizes 1 48 48 1 40 40 1 32 32 1 24 24 --local-crop 1 16 16 \
        --local-sizes 1 24 24 1 16 16 1 12 12 1 8 8 --patch 1 4 4 --epoch-samples 1"
    export FINETUNE_OPTIONS="$size --columns label --crop 1 56 56 --flips H W --lr 1e-3"
    run luna16 nodules candidates.json scans.json
}

mednist() { # which of six kinds of image
    local data=$DATA/mednist_subset prepared=$OUT/mednist/data
    # The table has one copy of an image in train and another, 006911, in val.
    local files=("$data" --pattern "**/*.jpeg" --exclude AbdomenCT/006911.jpeg)
    scan "$prepared/index.json" "${files[@]}"
    split "$prepared/splits.json" "${files[@]}" --table "$data/labels.csv" --subject "(.+)\.jpeg"
    # A column of 0 and 1 for each class, as for the findings of radiographs.
    awk -F, 'BEGIN { n = split("AbdomenCT BreastMRI CXR ChestCT Hand HeadCT", name, " ") }
        { printf "%s", $1; for (k = 1; k <= n; k++) printf ",%s", NR == 1 ? name[k] : $2 == name[k]; print "" }' \
        "$data/labels.csv" > "$prepared/classes.csv"
    export PRETRAIN_STEPS=60 FINETUNE_STEPS=80
    local size="--filters 8 --batch-size 16 --threads 1"
    export PRETRAIN_OPTIONS="$size --crop 1 64 64 --local-crop 1 32 32 --cutout 3 9"
    export FINETUNE_OPTIONS="$size --crop 1 64 64 --shrink 1 1 1 --shift 2 --lr 1e-3 --unmatched leave"
    run chestxray14 mednist index.json
}

hippocampus() { # both parts of the hippocampus in MR, as the regions of a tumour, in slices
    arrange brats2018 msd_hippocampus 2=2 1=4 "$OUT/hippocampus/data"
    export PRETRAIN_STEPS=150 FINETUNE_STEPS=150
    local size="--filters 8 --batch-size 16 --threads 1 --crop 1 48 32"
    # Labels are 2 and 4 alone; left and right hippocampi are mirror images.
    export PRETRAIN_OPTIONS="$size --patch 2 8" FINETUNE_OPTIONS="$size --regions hippocampus=2+4 anterior=4"
    segment brats_2d hippocampus swap
}

hippocampus3d() { # the same in volumes
    arrange brats2018 msd_hippocampus 2=2 1=4 "$OUT/hippocampus3d/data"
    export PRETRAIN_STEPS=30 FINETUNE_STEPS=60
    local size="--filters 4 --threads 1"
    export PRETRAIN_OPTIONS="$size --batch-size 4 --crop 16 32 32 --sizes 24 40 32 16 32 32 --locals 2 --local-crop 8 8 8 \
        --local-sizes 8 16 16 8 8 8 --patch 2 4 4 --evaluate-samples 8"
    export FINETUNE_OPTIONS="$size --crop 32 48 32 --regions hippocampus=2+4 anterior=4 --lr 3e-3"
    segment brats2018 hippocampus3d pcrlv2
}

mandible() { # five organs of head and neck in CT, as a tumour (the mandible) and its organ (all five)
    arrange lits openkbp_hn_ct 1=1 2=1 3=1 4=1 7=2 "$OUT/mandible/data"
    export PRETRAIN_STEPS=40 FINETUNE_STEPS=250
    # The files hold HU + 1000.
    local size="--filters 4 --threads 1 --normalize window 800 1200 --spacing 6 6 6 --cache host:1GB"
    export PRETRAIN_OPTIONS="$size --batch-size 4 --crop 16 32 32 --sizes 24 40 40 16 32 32 --locals 2 --local-crop 8 8 8 \
        --local-sizes 8 16 16 8 8 8 --patch 2 4 4 --evaluate-samples 8"
    export FINETUNE_OPTIONS="$size --batch-size 8 --crop 16 32 32 --regions organs=1+2 mandible=2 --lr 1e-2"
    segment lits mandible pcrlv2
}

for name in "$@"; do
    mkdir -p "$OUT/$name/data"
    "$name"
done
