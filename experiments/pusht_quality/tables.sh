#!/usr/bin/env bash
# The tables and verdicts of docs/evaluation.md over held-out episodes of the simulator, by the command that users have.
#   experiments/pusht_quality/tables.sh OUT [EPISODES]                the embedded model; 64 episodes unless told
#   MODEL=FOLDER experiments/pusht_quality/tables.sh OUT [EPISODES]   another checkpoint of its kind (a save_pretrained folder)
#   experiments/pusht_quality/tables.sh OUT EPISODES sensitivity      action sensitivity alone
# Three sweeps, each resumed where it was cut off: forward dynamics, inverse dynamics and policy against the truth; action
# sensitivity (true, shuffled, zero and mirrored actions, two seeds); cycle consistency of the first sweep's videos.
set -euo pipefail
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" SDL_VIDEODRIVER=dummy
[[ $# -ge 1 && "${3:-sensitivity}" == sensitivity ]] || { sed -n '2,5s/^# *//p' "$0"; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd) episodes=${2:-64}
asked="$episodes episodes, ${MODEL:-the embedded model}"
[ ! -f "$out/asked" ] || [ "$(cat "$out/asked")" = "$asked" ] || { echo "$out holds $(cat "$out/asked"), not $asked: choose another OUT" >&2; exit 2; }
echo "$asked" > "$out/asked"
command=("${PYTHON:-python}" -m strands_diffusers)

tasks=(left right up down goal free)
observations=$(for ((i = 0; i < episodes; i++)); do printf 'pusht:%d@task:%s,' $((500000 + i)) "${tasks[i % 6]}"; done)
common=(tracker=none 'visualizer=[]')
if [ -n "${MODEL:-}" ]; then
  policy='num_inference_steps:8,flow_shift:1.0,guidance_scale:1.0' dynamics='num_inference_steps:2,flow_shift:1.0,guidance_scale:1.0'
  common+=(model=custom "model.repo=$(cd "$MODEL" && pwd)" model.pixel_map=true model.scene=pusht model.dtype=bfloat16
    "model.recommended={policy:{$policy},forward_dynamics:{$dynamics},inverse_dynamics:{$dynamics}}")
fi

sweep() {  # NAME OVERRIDE...: into OUT/NAME, or on with what is there
  local where="output_dir=$out/$1"
  [ -d "$out/$1/0" ] && where="resume=$out/$1"
  shift
  "${command[@]}" -m "$@" "${common[@]}" "$where"
}

only=${3:-}
[ -n "$only" ] || sweep evaluation condition=forward_dynamics,inverse_dynamics,policy "observation=${observations%,}"
sweep sensitivity experiment=action_sensitivity sampler.num_samples=2 "observation=${observations%,}"
if [ -n "$only" ]; then exit; fi
videos=$(for ((i = 0; i < episodes; i++)); do printf 'run:%s,run:%s,' "$out/evaluation/$i" "$out/evaluation/$((2 * episodes + i))"; done)
sweep cycle experiment=cycle_consistency "observation=${videos%,}"

cat "$out/evaluation/evaluation.md"
for name in sensitivity cycle; do
  "${command[0]}" -c 'import json, sys; [print("-", v["name"] + ":", v["verdict"]) for v in json.load(open(sys.argv[1]))["verdicts"]]' "$out/$name/sweep.json"
done
