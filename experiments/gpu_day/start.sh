#!/usr/bin/env bash
# The day in one line, on a machine without a network too: installs the wheels that came along, then runs the day.
#   experiments/gpu_day/start.sh --minutes 12 --out DIR
#   experiments/gpu_day/start.sh --only-install          one batch of wheels of several (.whl/1, .whl/2, ...)
set -euo pipefail
cd "$(dirname "$0")/../.."
site=${GPU_DAY_SITE:-/tmp/gpu_day_site}
for batch in .whl/*/; do
    [ -d "$batch" ] || continue
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site/$(basename "$batch")" "$batch"*.whl
done
[ "${1-}" != --only-install ] || exit 0
for folder in "$site"/*/ strands_diffusers/_hydra .; do
    [ ! -d "$folder" ] || PYTHONPATH="$(cd "$folder" && pwd)${PYTHONPATH:+:$PYTHONPATH}"
done
export PYTHONPATH HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
exec python3 -m experiments.gpu_day "$@"
