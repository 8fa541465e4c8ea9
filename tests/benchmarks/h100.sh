#!/usr/bin/env bash
# Everything that a machine with an NVIDIA GPU can show, unattended and in about ten minutes: correctness on CUDA, the
# benchmark, a short real training of both objectives from token shards brought along, and their analysis.
#
#   tests/benchmarks/h100.sh CORPUS OUT [DATA]
#
# CORPUS is a folder written by `geomprobe corpus build` (with --limit-tokens 25000000 it packs to about 50 MB), OUT takes
# the figures, DATA is a folder of GLUE parquet files (without it the analysis uses the controlled task). No network is
# used. A part that fails or takes too long is named, the others run all the same, and the exit code is then 1.
# LIMIT is the most seconds that all take together; a part for which none are left is not begun.
#
# To try the script without a GPU, with ten times the time for each part:
#   PATIENCE=10 DEVICE=cpu PRESET=demo ROWS=8 STEPS=2 WARMUP=1 TOKENS=20k TASK=mrpc tests/benchmarks/h100.sh …
set -uo pipefail
if [ $# -lt 2 ]; then
  sed -n '2,14s/^# \{0,1\}//p' "$0"
  exit 2
fi
corpus=$(realpath "$1") out=$(realpath -m "$2") data=${3:+$(realpath "$3")}
device=${DEVICE:-cuda} preset=${PRESET:-paper} rows=${ROWS:-512} steps=${STEPS:-30} warmup=${WARMUP:-20}
tokens=${TOKENS:-20M} task=${TASK:-sst2,mrpc}
python=${PYTHON:-python3} patience=${PATIENCE:-1}
limit=$((${LIMIT:-600} * patience))
here=$(cd "$(dirname "$0")/../.." && pwd)
bench=$here/tests/benchmarks
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
# The training has the shapes of the benchmark, so it finds them compiled.
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$out/compiled}
mkdir -p "$out/runs"
cd "$out" || exit 1
failed=()

# part NAME SECONDS LOG COMMAND…
part() {
  local name=$1 seconds=$(($2 * patience)) log=$3 begun=$SECONDS
  shift 3
  [ $seconds -lt $((limit - SECONDS)) ] || seconds=$((limit - SECONDS))
  echo "== $name"
  if [ $seconds -le 0 ]; then
    echo "   no time is left"
    failed+=("$name")
    return
  fi
  if timeout --kill-after 5 "$seconds" "$@" 2>&1 | tee "$log"; then
    echo "   $((SECONDS - begun)) s"
  else
    echo "   failed after $((SECONDS - begun)) s"
    failed+=("$name")
  fi
}

{
  date -u +%F
  echo "$0 $*"
  "$python" -c 'import platform, torch, transformers
print("python", platform.python_version(), "torch", torch.__version__, "transformers", transformers.__version__)'
  [ "$device" != cuda ] || nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,memory.total --format=csv
} > machine.txt 2>&1
cat machine.txt

what=(--preset "$preset" --rows "$rows" --device "$device" --precision bf16)
# Compiled beforehand, all shapes at the same time and beside the first part: one after the other they take minutes.
timeout --kill-after 5 $((170 * patience)) "$python" "$bench/bench_pretrain.py" "${what[@]}" --fill-cache > compile.txt 2>&1 &
compiling=$!
part "correctness on $device" 220 correctness.txt "$python" "$bench/check_cuda.py" "$corpus" "$device"
echo "== compiling the shapes of the benchmark"
wait $compiling || failed+=("compiling")
cat compile.txt
part "benchmark" 200 bench.txt "$python" "$bench/bench_pretrain.py" "${what[@]}" --steps "$steps" --warmup "$warmup" \
  --out bench.json --cases mlm-compiled hybrid-compiled mlm-eager hybrid-eager mlm-trainer
for objective in mlm hybrid; do
  rm -rf "runs/$objective"
  part "training: $objective, $tokens tokens" 110 "train-$objective.txt" "$python" -m geomprobe pretrain --preset "$preset" \
    --objective "$objective" --corpus "$corpus" --budget "$tokens-tokens" --device "$device" --out "runs/$objective" \
    --set batch_rows="$rows" --set warmup_steps=50 --set precision=bf16
done
where=(--task controlled)
[ -z "$data" ] || where=(--data "$data" --task "$task")
# Not `compare`: its report in PDF needs typst, which a bare machine lacks.
part "analysis" 150 analysis.txt "$python" -m geomprobe analyze runs/hybrid runs/mlm "${where[@]}" --device "$device" \
  --out runs/analyzed
part "report" 20 report.txt "$python" -m geomprobe report runs/analyzed --html

echo "$SECONDS s; figures in $out"
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
fi
