#!/usr/bin/env bash
# One process, on one GPU or on the CPU.
#
#   launchers/local.sh train recipes/livr_qwen3_4b.yaml [key=value …] [--resume]
#   launchers/local.sh rl    recipes/lvr_grpo_3b.yaml   [key=value …] [--resume]
#
# Variables: CUDA_VISIBLE_DEVICES (which GPU: the first by default), PYTHON (python), DRY_RUN (1 prints the
# command and leaves).
set -euo pipefail

export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES-0}"
command=("${PYTHON:-python}" -m latentvr "$@")

if [[ "${DRY_RUN:-0}" == 1 ]]; then
  printf '%q ' "${command[@]}"
  echo
  exit
fi
exec "${command[@]}"
