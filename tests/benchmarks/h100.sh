#!/usr/bin/env bash
# Everything that a machine with an NVIDIA GPU can show, unattended and within ten minutes: correctness on CUDA, the
# benchmark, a short real training of both objectives from token shards brought along, and their analysis.
#
#   tests/benchmarks/h100.sh CORPUS OUT [DATA]
#
# CORPUS is a folder written by `geomprobe corpus build` (pack it with --limit-tokens 25000000: about 50 MB), OUT takes the
# figures, DATA is a folder of GLUE parquet files (without it the analysis uses the controlled task). No network is used.
set -euo pipefail
corpus=$1 out=$2 data=${3:-}
here=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$out"
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
geomprobe() { python -m geomprobe "$@"; }
cd "$out"
nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,memory.total --format=csv > gpu.csv
python -c 'import torch, transformers; print("torch", torch.__version__, "transformers", transformers.__version__)' > versions.txt

echo "== correctness on CUDA"
timeout 120 python "$here/tests/benchmarks/check_cuda.py" "$corpus" | tee cuda.txt

echo "== benchmark"
timeout 200 python "$here/tests/benchmarks/bench_pretrain.py" --preset paper --rows 512 --steps 30 --warmup 20 --device cuda \
  --out bench.json | tee bench.txt

echo "== training: 20M tokens of each objective, preset paper"
for objective in mlm hybrid; do
  timeout 100 python -m geomprobe pretrain --objective "$objective" --preset paper --corpus "$corpus" --budget 20M-tokens \
    --out "runs/pretrain/$objective" --device cuda --set batch_rows=128 --set warmup_steps=50 --json > "$objective.json"
done

echo "== analysis"
tasks=(--task controlled)
[ -n "$data" ] && tasks=(--data "$data" --task sst2,mrpc)
geomprobe compare runs/pretrain/hybrid runs/pretrain/mlm "${tasks[@]}" --device cuda --out runs/analyze/gpu
echo "done: figures in $out"
