#!/usr/bin/env bash
# The published 13B run with an unmodified Megatron-DeepSpeed, started by mpirun on every rank. README.md goes through it
# line by line. SCALE=toy makes the sizes those of a desk; everything else stays.
set -euo pipefail

: "${MEGATRON_DEEPSPEED_HOME:?names no checkout of github.com/deepspeedai/Megatron-DeepSpeed}"
: "${TOKENIZER:?names no SentencePiece model}"
: "${DATA:?names no weights and paths of token files, as in \"54 ja_text_document 46 en_text_document\"}"
checkpoints=${CHECKPOINTS:-checkpoints}

if [ "${SCALE:-13b}" = toy ]; then
    tensor=2 pipeline=2 global_batch=8 sequence=64 tokens=${TOKENS:-5120} warmup_tokens=512
    model=(--num-layers 4 --hidden-size 48 --num-attention-heads 6)
    stages=1 rhythm=(--log-interval 1 --save-interval 5 --eval-interval 5 --eval-iters 1)
else
    tensor=6 pipeline=8 global_batch=2016 sequence=2048 tokens=400000000000 warmup_tokens=4000000000
    model=(--num-layers 40 --hidden-size 5184 --num-attention-heads 36)
    stages=4 rhythm=(--log-interval 1 --save-interval 250 --eval-interval 100 --eval-iters 10)
fi

read -ra data <<< "$DATA"

exec mfugaku run "$MEGATRON_DEEPSPEED_HOME/pretrain_gpt.py" \
    "${model[@]}" --seq-length "$sequence" --max-position-embeddings "$sequence" \
    --micro-batch-size 1 --global-batch-size "$global_batch" \
    --tensor-model-parallel-size "$tensor" --pipeline-model-parallel-size "$pipeline" --DDP-impl local \
    --train-tokens "$tokens" --train-samples $((3 * tokens / 2 / sequence)) \
    --lr 1.0e-4 --min-lr 1.0e-6 --lr-decay-style cosine --lr-decay-tokens "$tokens" \
    --lr-warmup-tokens "$warmup_tokens" --override-lr-scheduler --no-load-lr-state \
    --cpu-optimizer --cpu-torch-adam --adam-beta1 0.9 --adam-beta2 0.95 --weight-decay 0.1 --clip-grad 1.0 \
    --init-method-std 0.008 --use-cpu-initialization \
    --data-path "${data[@]}" --data-impl mmap --split 949,51,0 --num-workers 0 ${CACHED:+--use-cached-dataset} \
    --tokenizer-type JapaneseSentencePiece --vocab-file "$TOKENIZER" \
    --save "$checkpoints" --load "$checkpoints" "${rhythm[@]}" \
    --checkpoint-activations --checkpoint-activations-stages "$stages" \
    --distributed-backend mpi --no-cuda --use-flush-denormal \
    --tensorboard-dir "$checkpoints/tensorboard" --log-batch-size-to-tensorboard --log-validation-ppl-to-tensorboard \
    --log-timers-to-tensorboard --log-optimizer-states-to-tensorboard \
    "$@"
