#!/usr/bin/env bash
# One process for each GPU, with optimiser, gradients or weights split between them by DeepSpeed (ZeRO).
#
#   NPROC=8 launchers/deepspeed.sh train recipes/lvr_qwen25vl_7b.yaml [key=value …] [--resume]
#   NPROC=8 launchers/deepspeed.sh train RECIPE train.deepspeed=launchers/deepspeed/zero3.json
#
# Adds train.deepspeed=…/deepspeed/zero2.json, which lies beside this file, unless arguments or recipe set the
# key to something other than null. Settings to choose from: deepspeed/zero2.json, zero3.json, zero3_offload.json.
#
# Variables: those of torchrun.sh, which starts the processes: DeepSpeed needs no launcher of its own, and its
# own one ends processes before they could save. HOSTFILE (machines and slots, a line each) starts them over
# ssh with the `deepspeed` program all the same, for clusters without a scheduler; stop such a run by a signal
# to one of its training processes.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

# Whether a recipe sets the key, in a line of its own or in braces, to something other than null.
names_settings() {
  grep -Eo '(^ +|[{,] *)deepspeed: *[^ #,}]+' "$1" | grep -Eqv 'deepspeed: *(null|Null|NULL|~)$'
}

given=0
for argument in "$@"; do
  case "$argument" in
    train.deepspeed= | train.deepspeed=null) given=0 ;;
    train.deepspeed=*) given=1 ;;
    *.yaml | *.yml) if names_settings "$argument"; then given=1; fi ;;
  esac
done
if [[ "$given" == 0 ]]; then set -- "$@" "train.deepspeed=$here/deepspeed/zero2.json"; fi

if [[ -z "${HOSTFILE:-}" ]]; then exec bash "$here/torchrun.sh" "$@"; fi

command=(deepspeed --hostfile "$HOSTFILE" --no_local_rank --module latentvr "$@")
if [[ "${DRY_RUN:-0}" == 1 ]]; then
  printf '%q ' "${command[@]}"
  echo
  exit
fi
exec "${command[@]}"
