#!/usr/bin/env bash
# The judge and its controls, one folder: experiments/judge_pusht/run.sh DIR [TABLES] [CONTROL_TABLES] [OVERRIDE...]
#   DIR: what `python -m experiments.judge_pusht.prepare --out DIR` made. 64 tables, 16 for the controls; 0: none.
#   POLICIES=a,b,c: other policies. FIRST=24: the tables from the 24th on. What is there already is not run again.
# Cut off, the same command goes on. A table is finished by all policies in both worlds before the next one begins.
set -euo pipefail
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" SDL_VIDEODRIVER=dummy
[[ $# -ge 1 && -d "$1/conf" ]] || { sed -n '2,6s/^# *//p' "$0"; exit 2; }
out=$(cd "$1" && pwd)
policies=${POLICIES:-random,still,pusht_expert,expert_25px,expert_50px,expert_100px,expert_200px,run_1,run_3,run_7,run_8,run_10,run_15,guidance_1,guidance_4}

tables() {  # N: the held-out tables up to the Nth
  local found
  found=$(for ((i = ${FIRST:-0}; i < $1; i++)); do printf 'pusht:%d@task:goal,' $((500000 + i)); done)
  printf '%s' "${found%,}"
}

sweep() {  # OVERRIDE...: into DIR/judge, or on with what is there
  local where="output_dir=$out/judge"
  [ -d "$out/judge" ] && where="resume=$out/judge"
  "${PYTHON:-python}" -m strands_diffusers -m --config-dir "$out/conf" experiment=judge_pusht "$@" "policy=$policies" tracker=none "$where"
}

if [ "${2:-64}" -gt 0 ]; then sweep "observation=$(tables "${2:-64}")" "${@:4}"; fi
if [ "${3:-16}" -gt 0 ]; then
  sweep model=deaf,confused world=model "observation=$(tables "${3:-16}")" condition.num_looks=3 'metric=[scores]' "${@:4}"
fi
"${PYTHON:-python}" -m experiments.judge_pusht "$out/judge"
