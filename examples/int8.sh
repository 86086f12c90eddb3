#!/usr/bin/env bash
# INT8, from calibration images to parity, accuracy and a measured speed-up, on a CPU.
#
#     examples/int8.sh [OUT]
#
# MODEL, WEIGHTS and CALIB choose the network, its weights and the images. The defaults need no download, and their weights are random: sizes
# and times are then real, and accuracies mean nothing. With a checkpoint of yours:
#
#     MODEL=resnet50 WEIGHTS=mine.pth CALIB=imagefolder:val examples/int8.sh engines/mine
set -euo pipefail
model=${MODEL:-resnet18} weights=${WEIGHTS:-random} calib=${CALIB:-digits} out=${1:-engines/int8}

# 1. Prune and export. Calibration runs images through the network and notes the range of every tensor, so they should be like those of
#    its later use. The table shows parity, and how many layers really compute in INT8: "int8 20/21".
prune-deploy export --model "$model" --weights "$weights" --num-classes "${CLASSES:-10}" --input-size "${SIZE:-64}" --ratio 0.5 \
  --precision fp32,int8 --calib "$calib" --calib-samples "${SAMPLES:-128}" --engine none --out "$out"

# 2. Accuracy of each file, and how often it agrees with FP32. If INT8 lost too much, export again with --max-drop 0.5%: the layers
#    that lose most then stay in float.
prune-deploy eval "$out" --data "$calib" --data-samples "${SAMPLES:-128}" --backend ort

# 3. Measure the dense and the pruned network in both precisions, all interleaved, in one table. Whether INT8 is faster depends on the
#    processor: x86 without VNNI gains little.
prune-deploy bench "$out" --backend ort --precision fp32,int8 --across-precisions --batch "${BATCH:-8}" \
  --rigor "${RIGOR:-quick}" --budget-s "${BUDGET_S:-30}" --out "$out-run"

# 4. One page that opens offline.
prune-deploy report "$out-run"
