#!/usr/bin/env bash
# What a GPU has to show, in calls of limited length: bash benchmarks/gpu.sh DATA OUT SECONDS [LABEL...]
#
# The tests that need CUDA, throughput, then the rows of cifar100_lt: those LABELs first, else those of RIDE's gain. OUT
# gets logs, records and runs. What is done is not done again, what was stopped goes on: call it until it says that all
# is done, on another machine with a copy of OUT. It wants ltbench installed, and pytest. DEVICE=cpu SUITE=quick tries
# the script itself. PRECISION=bf16 is three times as fast. JOBS on one GPU take turns, unless NVIDIA's MPS runs: MPS=1
# JOBS=6 starts one of our own for the rows, and is almost twice as fast again.
set -uo pipefail
[[ ${3:-} =~ ^[0-9]+$ ]] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
data=$(realpath -m "$1") out=$(realpath -m "$2") end=$((SECONDS + $3))
shift 3
[ $# -gt 0 ] || set -- ce ldam_drw "ride(experts=3)"
cd "$(dirname "$0")" || exit 2
device=${DEVICE:-cuda} suite=${SUITE:-cifar100_lt} python=${PYTHON:-python3}
mkdir -p "$out"

# step NAME COMMAND...: run it in what time is left, unless OUT/NAME.txt says that it has ended. Prints what it printed.
step() {
    local name=$1 left=$((end - SECONDS)); shift
    [ -f "$out/$name.txt" ] && return
    [ $left -gt 20 ] || { echo "no time left for: $name"; exit 75; }
    echo "== $name, at most $left s: $*"
    # SIGINT: a run saves where it stands
    timeout --signal=INT --kill-after=15 $left "$@" 2>&1 | tee "$out/$name.part"
    local code=${PIPESTATUS[0]}
    case $code in
        124 | 130 | 137) echo "$name was stopped: call this again"; exit 75 ;;
        *) echo "exit code $code" >>"$out/$name.part"; mv "$out/$name.part" "$out/$name.txt" ;;
    esac
}

train() {
    "$python" -m ltbench run "$suite" --data "$data" --results "$out/results" --runs "$out/runs" --device "$device" \
        ${PRECISION:+--precision "$PRECISION"} ${JOBS:+--jobs "$JOBS"} --checkpoint 20 "$@"
}
export -f train
export python suite data out device

train "${@/#/--only=}" --dry-run >/dev/null || exit 2 # a label that is none, before it costs time

step machine "$python" -c 'import torch; print(torch.__version__, *(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())))'
step tests "$python" -m pytest ../tests -m gpu -q
step throughput "$python" throughput.py --device "$device" --windows 4
[ "$device" = cpu ] || step kernels "$python" kernels.py
if [ "${MPS:-}" = 1 ]; then
    mps=$(mktemp -d)
    trap 'echo quit | timeout 10 nvidia-cuda-mps-control; rm -r "$mps"' EXIT
    export CUDA_MPS_PIPE_DIRECTORY=$mps CUDA_MPS_LOG_DIRECTORY=$mps
    nvidia-cuda-mps-control -d || { echo "MPS=1: nvidia-cuda-mps-control did not start" >&2; exit 2; }
fi
[ "$(cat "$out/first.labels" 2>/dev/null)" = "$*" ] || rm -f "$out/first.txt"
echo "$*" >"$out/first.labels"
step first bash -c 'train "${@/#/--only=}"' train "$@"
step rows bash -c train
if grep -H '^exit code [1-9]' "$out"/*.txt; then
    echo "these failed; delete such a file to have its step done again" >&2
    exit 1
fi
echo "all is done: $out"
