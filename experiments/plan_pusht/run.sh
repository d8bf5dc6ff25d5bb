#!/usr/bin/env bash
# All arms on the same tables, one folder: experiments/plan_pusht/run.sh DIR [TABLES] [OFTEN]
#   DIR: what `python -m experiments.plan_pusht.prepare --out DIR` made. 20 tables; OFTEN of them (0) with the model alone looking
#   after every action, which takes about the time of best_8.
#   ARMS=a,b,c: other arms; what is there already is not run again. FIRST=10: begin at table 500010.
# Cut off, the same command goes on. A table is finished by all arms before the next one begins.
set -euo pipefail
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" SDL_VIDEODRIVER=dummy
[[ $# -ge 1 && -d "$1/conf" ]] || { sed -n '2,6s/^# *//p' "$0"; exit 2; }
out=$(cd "$1" && pwd)
arms=${ARMS:-alone,pusht_expert,best_8,random_8,confused_8,deaf_8,best_2,best_4,best_16,cem}

tables() {  # N: the first N held-out tables
  local found
  found=$(for ((i = 0; i < $1; i++)); do printf 'pusht:%d@task:goal,' $((500000 + ${FIRST:-0} + i)); done)
  printf '%s' "${found%,}"
}

sweep() {  # FOLDER OVERRIDE...: into DIR/FOLDER, or on with what is there
  local where="output_dir=$out/$1"
  [ -d "$out/$1" ] && where="resume=$out/$1"
  shift
  "${PYTHON:-python}" -m strands_diffusers -m --config-dir "$out/conf" experiment=plan "$@" tracker=none "$where"
}

sweep plan "observation=$(tables "${2:-20}")" "policy=$arms"
if [ "${3:-0}" -gt 0 ]; then
  sweep often "observation=$(tables "$3")" policy=alone condition.num_looks=96 condition.act_steps=1
fi
"${PYTHON:-python}" -m experiments.plan_pusht "$out"
