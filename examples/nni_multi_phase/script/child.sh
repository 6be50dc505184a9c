#!/bin/sh

export PYTHONPATH="$(pwd)"

python nni_child_ptb.py \
  --num_epochs=15 \
  --batch_size=32 \
  --child_lr=0.1
