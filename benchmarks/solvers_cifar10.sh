#!/usr/bin/env bash
# The CIFAR-10 half of docs/solvers.md, in 25 minutes of one GPU: bash benchmarks/solvers_cifar10.sh FOLDER JUDGE
# FOLDER has train/<class>/*.jpg; JUDGE is the folder of a judge (judge.py train). Results lie in solvers_cifar10/.
set -euo pipefail
sfumato train "$1/train" --preset ddpm --images 900000 --warmup 0.0711 --ema constant:decay=0.9995 --validate-every 300000 --preview-count 64 --save-minutes 100 \
  --out solvers_cifar10/run
python benchmarks/solvers.py measure solvers_cifar10/run --judge "$2" --out benchmarks/solvers_cifar10.jsonl --device cuda --batch 1000
