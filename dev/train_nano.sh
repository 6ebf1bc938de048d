#!/usr/bin/env bash
# Trains nano on one machine with a GPU: scenes are rendered on all cores while the networks learn from the first ones.
# What is there already (vision tower, pose prior) is kept; a run that was stopped goes on. Recipes: config/train/nano_*.yaml
#
#   dev/train_nano.sh MODEL RUNS CACHE [WORKERS]        # CACHE: 28 GB for 10 000 scenes; under /dev/shm it is fastest
set -euo pipefail
model=$1 runs=$2 cache=$3 workers=${4:-$(nproc)}
loc3r=(python3 -m loc3r_ros.cli)
export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
mkdir -p "$runs"

stage() { # NAME WORKERS: trains a stage
    "${loc3r[@]}" train "$1" --config "config/train/nano_$1.yaml" --model "$model" --run "$runs/$1" \
        --set "data.cache=$cache" --set "data.workers=$2"
}

[ -f "$model/tokenizer.json" ] || "${loc3r[@]}" train tokenizer --config config/train/nano_tokenizer.yaml --model "$model"
"${loc3r[@]}" train scenes --config config/train/nano_scenes.yaml --model "$model" \
    --set "data.cache=$cache" --set "data.workers=$workers" > "$runs/scenes.txt" 2>&1 &
scenes=$!
trap 'kill $scenes 2> /dev/null || true' EXIT
while [ "$(find "$cache" -name '*.npy' 2> /dev/null | wc -l)" -lt 1500 ] && kill -0 $scenes 2> /dev/null; do sleep 1; done
[ -f "$model/vision.safetensors" ] || stage vision 4
[ -f "$model/pose_prior.safetensors" ] || stage pose 4
wait $scenes
trap - EXIT
stage joint "$workers"
"${loc3r[@]}" export "$model" --out "$model/engines"
