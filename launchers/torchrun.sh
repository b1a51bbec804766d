#!/usr/bin/env bash
# One process for each GPU, on one machine or several, the model whole in each (DDP).
#
#   NPROC=8 launchers/torchrun.sh train recipes/lvr_qwen25vl_7b.yaml [key=value …] [--resume]
#
# On several machines, the same on each of them:
#   NPROC=8 NODES=2 MASTER_ADDR=first-machine launchers/torchrun.sh train recipes/lvr_qwen25vl_7b.yaml
#
# Variables: NPROC (processes on this machine: one for each GPU, or for each of CUDA_VISIBLE_DEVICES, by
# default; one where there is none), NODES (1), MASTER_ADDR and MASTER_PORT (where several machines meet: a name
# that all of them know, and 29500), RUN_ID (tells two runs that meet there apart), PYTHON (python), DRY_RUN (1
# prints the command and leaves).
#
# SIGTERM, SIGUSR1 and SIGINT, sent to this program, make all processes finish their step, save and leave with
# 143 (130 after SIGINT); `latentvr.runs.torchrun` is torchrun with that rule, and takes its arguments.
set -euo pipefail

gpus() {
  if [[ -n "${CUDA_VISIBLE_DEVICES+set}" ]]; then
    tr ',' '\n' <<< "$CUDA_VISIBLE_DEVICES" | grep -cv '^ *\(-1\)\{0,1\} *$' || true
    return
  fi
  { command -v nvidia-smi > /dev/null && nvidia-smi --list-gpus 2> /dev/null || true; } | grep -c '^GPU' || true
}

NPROC="${NPROC:-$(gpus)}"
if [[ "$NPROC" == 0 ]]; then NPROC=1; fi
NODES="${NODES:-1}"
if [[ "$NODES" == 1 ]]; then
  meet=(--standalone)
else
  : "${MASTER_ADDR:?several machines meet at one of them: set MASTER_ADDR to its name}"
  meet=(--nnodes "$NODES" --rdzv-backend c10d --rdzv-endpoint "$MASTER_ADDR:${MASTER_PORT:-29500}"
    --rdzv-id "${RUN_ID:-latentvr}")
fi
# One thread for each process, as torchrun does, without its warning.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
command=("${PYTHON:-python}" -m latentvr.runs.torchrun "${meet[@]}" --nproc-per-node "$NPROC" -m latentvr "$@")

if [[ "${DRY_RUN:-0}" == 1 ]]; then
  printf '%q ' "${command[@]}"
  echo
  exit
fi
exec "${command[@]}"
