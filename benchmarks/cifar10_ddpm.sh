#!/usr/bin/env bash
# The preset `ddpm` on CIFAR-10 for a few minutes of one GPU: bash benchmarks/cifar10_ddpm.sh FOLDER JUDGE
# FOLDER has train/<class>/*.jpg; JUDGE is the folder of a judge (judge.py train). Results lie in cifar10_ddpm/.
set -euo pipefail
sfumato train "$1/train" --preset ddpm --images 400000 --warmup 0.16 --ema constant:decay=0.9995 --preview-count 64 --validate-every 100000 --out cifar10_ddpm/run
sfumato show cifar10_ddpm/run
sfumato sample cifar10_ddpm/run --count 3000 --steps 50 --batch 1000 --out cifar10_ddpm/samples.npz
python benchmarks/judge.py score cifar10_ddpm/samples.npz --judge "$2"
sfumato sample cifar10_ddpm/run --count 60 --steps 250 --guidance 1.5 --out cifar10_ddpm/grid
