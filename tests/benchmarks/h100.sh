#!/usr/bin/env bash
# What a machine with an NVIDIA GPU can show, unattended, in parts that each fit six minutes from a cold start.
#
#   tests/benchmarks/h100.sh pack CORPUS STEM    on any machine: a corpus in pieces of at most 16 MB, STEM.0, STEM.1, …
#   tests/benchmarks/h100.sh check               is all on the GPU as on the CPU?
#   tests/benchmarks/h100.sh bench               tokens/s of both objectives and of transformers.Trainer
#   tests/benchmarks/h100.sh train SEED          both objectives for equal steps; the encoders are kept in bf16
#   tests/benchmarks/h100.sh analyze SEED        both encoders on five tasks under four poolings
#   tests/benchmarks/h100.sh profile             kernels by time
#
# Everything is written to OUT: PART.json has the figures, with device, date and versions, as soon as each is known, and
# PART.txt what was printed. `train` also leaves the encoders (encoder-SEED-OBJECTIVE.0, …), `analyze` the finished
# results folder (results-SEED.0, …), both in pieces of at most 16 MB; OUT/work is scratch. No network is used. Repeat
# `train` or `analyze` to continue where it stopped. Exit code 1: something failed, which the last line names.
#
#   OUT      build/h100       folder of all results
#   LIMIT    see below        most seconds of the part; it then ends and keeps what it has
#   CORPUS   build/h100/corpus  for `train`: a corpus folder, or the STEM of a packed one
#   DATA     none             for `analyze`: a folder of GLUE parquet files; without it the controlled task is measured
#   BUDGET   1.2-minutes      for `train`: length of the hybrid run. MLM takes as many steps, in about three quarters of the time.
#                             Seeds to be compared need equal lengths: the second and third take the first one's STEPS-steps
#   JOBS     none             for `analyze`: passed on as --jobs
#   DEVICE cuda, PRESET paper, ROWS 512, STEPS 30, WARMUP 20, WARMUP_STEPS 100 of the schedule, PYTHON python3,
#   CASES, CHECKS and TASK, which choose from what is measured, and TEXTS, rows a task, are for a rehearsal:
#   DEVICE=cpu PRESET=demo ROWS=8 STEPS=2 WARMUP=1 LIMIT=3000 tests/benchmarks/h100.sh bench
set -uo pipefail
part=${1:-} seed=${2:-}
case $part:$# in
  check:1 | bench:1 | profile:1) name=$part ;;
  train:2 | analyze:2) name=$part-$seed ;;
  pack:3) ;;
  *) sed -n '2,/^set/{s/^# \{0,1\}//p;}' "$0" | sed '/^set/d'; exit 2 ;;
esac
here=$(cd "$(dirname "$0")/../.." && pwd)
bench=$here/tests/benchmarks
python=${PYTHON:-python3}
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
[ "$part" != pack ] || exec "$python" "$bench/carry.py" pack "$2" "$3"

out=$(realpath -m "${OUT:-$here/build/h100}")
device=${DEVICE:-cuda} preset=${PRESET:-paper} rows=${ROWS:-512}
corpus=$(realpath -m "${CORPUS:-$out/corpus}")
work=$out/work run=$out/work/seed-$seed
# What is compiled once is found by all parts.
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$work/compiled}
mkdir -p "$work"
log=$out/$name.txt failed=()
declare -A limits=([check]=120 [bench]=270 [train]=285 [analyze]=285 [profile]=200)
limit=${LIMIT:-${limits[$part]}}

# step WHAT COMMAND…: what fails or has no time left is named, and the others run all the same.
step() {
  local what=$1 begun=$SECONDS left=$((limit - SECONDS)) code
  shift
  if [ $left -le 0 ]; then
    code="no time is left"
  elif timeout --kill-after 20 $left "$@" 2>&1 | tee -a "$log"; then
    echo "== $what: $((SECONDS - begun)) s" | tee -a "$log"
    return 0
  else
    code="failed after $((SECONDS - begun)) s"
  fi
  echo "== $what: $code" | tee -a "$log"
  failed+=("$what")
  return 1
}

what=(--preset "$preset" --rows "$rows" --device "$device" --precision bf16)

# compile CASE…: all at the same time.
compile() {
  case "$device $*" in cuda*compiled*) ;; *) return 0 ;; esac
  step "compiling" "$python" "$bench/bench_pretrain.py" "${what[@]}" --fill-cache --cases "$@"
}

check() {
  step "correctness on $device" "$python" "$bench/check_cuda.py" --device "$device" --out "$out/check.json" \
    ${PRESET:+--preset "$PRESET"} ${STEPS:+--steps "$STEPS"} ${CHECKS:+--checks $CHECKS}
}

bench() {
  local cases=${CASES:-mlm-compiled hybrid-compiled mlm-trainer mlm-eager hybrid-eager}
  compile $cases
  step "benchmark" "$python" "$bench/bench_pretrain.py" "${what[@]}" --steps "${STEPS:-30}" --warmup "${WARMUP:-20}" \
    --out "$out/bench.json" --cases $cases
}

profile() {
  local cases=${CASES:-mlm-compiled hybrid-compiled}
  compile $cases
  step "profile" "$python" "$bench/profile_steps.py" "${what[@]}" --steps "${STEPS:-8}" --warmup "${WARMUP:-12}" \
    --out "$out/profile.json" --cases $cases
}

train() {
  local length=(--budget "${BUDGET:-1.2-minutes}") objective
  if [ ! -d "$corpus" ]; then
    step "unpacking the corpus" "$python" "$bench/carry.py" unpack "$corpus" "$work/corpus" || return
    corpus=$work/corpus
  fi
  compile mlm-compiled hybrid-compiled
  for objective in hybrid mlm; do
    step "training: $objective" "$python" -m geomprobe pretrain --preset "$preset" --objective "$objective" \
      --corpus "$corpus" --seed "$seed" --device "$device" "${length[@]}" --out "$run/trained/$objective" --resume \
      --save-every 10m --set batch_rows="$rows" --set warmup_steps="${WARMUP_STEPS:-100}" --set precision=bf16 || return
    step "packing: $objective" "$python" "$bench/carry.py" trained "$run/trained/$objective" \
      "$out/encoder-$seed-$objective" "$out/$name.json" "$device"
    length=(--match "$run/trained/hybrid" --by steps)
  done
}

analyze() {
  local where=(--task controlled) objective
  [ -z "${DATA:-}" ] || where=(--data "$DATA" --task "${TASK:-sst2,mrpc,cola,stsb,mnli}")
  for objective in mlm hybrid; do
    # On the machine that trained, too: what is measured is the encoder that is kept.
    step "unpacking: $objective" "$python" "$bench/carry.py" unpack "$out/encoder-$seed-$objective" "$run/$objective" \
      || return
  done
  rm -f "$run/results/run.json" # written last: without it the results are unfinished, and finished cells are kept
  step "analysis" "$python" -m geomprobe analyze "$run/mlm" "$run/hybrid" "${where[@]}" \
    --pool mean,max,weighted,attention --device "$device" --out "$run/results" ${TEXTS:+--limit "$TEXTS"} \
    ${JOBS:+--jobs "$JOBS"}
  # It is there where single cells failed, too.
  [ -f "$run/results/run.json" ] || { echo "finished cells are kept in $run/results/cells" | tee -a "$log"; return; }
  step "packing" "$python" "$bench/carry.py" analysed "$run/results" "$out/results-$seed" "$out/$name.json" "$device"
}

{
  echo "$0 $*, $(date -u +%FT%TZ)"
  [ "$device" != cuda ] || nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,memory.total --format=csv
} 2>&1 | tee "$log"
$part
[ -f "$out/$name.json" ] && figures=$out/$name.json || figures="no figures"
if [ ${#failed[@]} -gt 0 ]; then
  echo "$name: failed after $SECONDS s ($(IFS=,; echo "${failed[*]}")); $figures" | tee -a "$log"
  exit 1
fi
echo "$name: $SECONDS s; $figures" | tee -a "$log"
