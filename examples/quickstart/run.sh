#!/usr/bin/env bash
# The main job from end to end: corpus, tokenizer, tokens, 3D-parallel pretraining with an interruption, text, report.
# Everything lands in QUICKSTART_RUN_DIR; QUICKSTART_OVERRIDES="train.train_iters=60 ..." changes the run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH="$PWD/.venv/bin:$PATH"

config=examples/quickstart/pretrain.yaml
run=${QUICKSTART_RUN_DIR:-runs/quickstart}
metrics=$run/metrics.jsonl
read -ra overrides <<<"run_dir=$run data.manifest=$run/data/manifest.json ${QUICKSTART_OVERRIDES:-}"

step() { printf '\n== %s\n' "$*"; }

step "1/6 What this machine has"
mfugaku doctor

step "2/6 Corpus, tokenizer and tokens, from Debian's documentation and Python's sources"
mfugaku data examples/quickstart/corpus.yaml --output "$run/data"

# A run folder of an earlier quickstart would be resumed; this one starts anew, on the data that is there.
find "$run" -mindepth 1 -maxdepth 1 ! -name data -exec rm -rf {} +

step "3/6 Pretraining on 4 ranks, until one of them is killed"
mfugaku launch local "$config" "${overrides[@]}" &
launcher=$!
saved=$run/checkpoints/latest_checkpointed_iteration.txt
# Six steps beyond the first checkpoint: the resumed run must repeat them.
until [[ -f $saved ]] && (( $(grep -c '"event": "train"' "$metrics") >= $(<"$saved") + 6 )); do
  kill -0 "$launcher" 2>/dev/null || { wait "$launcher"; exit; }
  sleep 0.1
done
for process in /proc/[0-9]*; do
  if grep -qzE '^(OMPI_COMM_WORLD_RANK|PMI_RANK)=3$' "$process/environ" 2>/dev/null &&
     tr '\0' ' ' <"$process/cmdline" | grep -qF "megatron_fugaku pretrain $config"; then
    echo "-- kill -9 of rank 3, process ${process##*/}"
    kill -9 "${process##*/}"
    break
  fi
done
wait "$launcher" && { echo "the job outlived its rank" >&2; exit 1; }

step "4/6 The same command again goes on from the last checkpoint"
mfugaku launch local "$config" "${overrides[@]}"

step "5/6 Text from the last checkpoint"
mfugaku generate "$run" --save --max-new-tokens 48 \
  --prompt "このコマンドは、" --prompt "ファイルを開くには" --prompt "The function returns" --prompt "def __init__(self"

step "6/6 Report"
mfugaku report "$run" --trace "$run/trace.json"
