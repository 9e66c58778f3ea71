#!/usr/bin/env bash
# The parts of the lane, run where this script runs; docker/lane.sh chooses the place and sets LANE_MODE and LANE_PYTHON.
# Parts of one process run side by side, one for each core; those that start MPI ranks run alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=docker/common.sh
. docker/common.sh
# shellcheck source=docker/lane/schedule.sh
. docker/lane/schedule.sh
program=docker/lane.sh

need_sve='' listing='' words=()
for word in "$@"; do
    case $word in
        --need-sve) need_sve=yes ;;
        --list) listing=yes ;;
        *) words+=("$word") ;;
    esac
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore GOLDEN_DATA=$work/golden
: "${LANE_PYTHON:=python3}"
kernel_tests=build/kernel_tests

if [ "$LANE_MODE" = emulated ]; then
    # Limits in the tests are made for a processor at its own speed.
    export TEST_TIMEOUT_FACTOR=${TEST_TIMEOUT_FACTOR:-5}
    # QEMU lacks the system call by which Open MPI copies between processes.
    export HOME=$work/home
    mkdir -p "$HOME/.openmpi"
    echo 'btl_vader_single_copy_mechanism = none' >"$HOME/.openmpi/mca-params.conf"
fi

run_pytest() { "$LANE_PYTHON" -m pytest -q -p no:cacheprovider -p no:xdist "$@"; }

# Runs a command on a processor: QEMU's name of it, or SVE vectors of so many bytes of this machine's own.
on() {
    local processor=$1
    shift
    if [ "$LANE_MODE" = emulated ]; then
        QEMU_CPU=$processor "$@"
    elif [ "$processor" = this ]; then
        "$@"
    else
        "$LANE_PYTHON" tests/aarch64/programs/vector_length.py "$processor" "$@"
    fi
}

# The C++ tests, but for those of schedules, which depend on no processor and take long when emulated; what they say of
# the processor must be what was asked for.
test_cpp() {
    local processor=$1 described=$2 said log
    log=$(mktemp "$work/cpp.XXXXXX")
    on "$processor" "$kernel_tests" --test-suite-exclude=schedules | tee "$log" || return 1
    said=$(sed -n 's/.*this CPU has: //p' "$log")
    [ -n "$described" ] && [ "$said" != "$described" ] || return 0
    echo "This was to run on a processor with '$described', but the program found '$said'."
    return 1
}

# On a machine of its own the C++ tests may not be built yet; the image has them.
build_cpp_tests() {
    [ "$LANE_MODE" = native ] || return 0
    say "building the C++ tests of the kernels"
    "$LANE_PYTHON" setup.py --quiet build_kernel_tests --output build >"$work/build.log" 2>&1 || {
        tail -n 20 "$work/build.log"
        fail 3 "the C++ tests of the kernels were not built; the reason stands above. Half of the lane are these tests." \
            "They need a C++ compiler and doctest: apt-get install g++ doctest-dev."
    }
}

# What a processor of this lane is to have, in the words of the C++ tests.
sve() { echo "sve ($(($1 * 8))-bit vectors), neon, portable"; }

OPS=(tests/kernels/test_{adamw,attention,bias_gelu,cast,cross_entropy,dropout,embedding,grad_norm,matmul,matmul_bf16,matmul_fp16,norm,residual_norm,rope,softmax,swiglu}.py)
# Those that look at every size; what else there is does not depend on the vectors.
OPS_BY_SIZE=("${OPS[@]}" -k "is_the_reference_to_the_bit or bias_and_residual or within_its_bounds or rounded_once or its_definition_to_the_bit")

declare_emulated_parts() {
    part 1 "installed package on A64FX" run_pytest tests/aarch64/test_installed.py -k "not neoverse"
    part 1 "installed package without SVE" run_pytest tests/aarch64/test_installed.py -k neoverse
    # torch's check of an operator's registration and its own attention in float64 take minutes under emulation and know
    # nothing of vectors; the C++ tests look at every size of attention.
    part 1 "ops, SVE 64 bytes" on a64fx run_pytest --durations=8 "${OPS[@]}" \
        -k "not in_order and not twice_as_far and not any_shape and not in_proportion"
    part 1 "ops, SVE 32 bytes" on a64fx,sve512=off run_pytest "${OPS_BY_SIZE[@]}"
    part 1 "ops, SVE 16 bytes" on a64fx,sve256=off,sve512=off run_pytest "${OPS_BY_SIZE[@]}"
    part 1 "C++ kernels, SVE 64 bytes" test_cpp a64fx "$(sve 64)"
    part 1 "C++ kernels, SVE 32 bytes" test_cpp a64fx,sve512=off "$(sve 32)"
    part 1 "C++ kernels, SVE 16 bytes" test_cpp a64fx,sve256=off,sve512=off "$(sve 16)"
    part 1 "C++ kernels, BF16 instructions" test_cpp max,sve-default-vector-length=32 "$(sve 32)"
    part 1 "C++ kernels, Cortex-A72" test_cpp cortex-a72 "neon, portable"
    part 1 "C++ kernels, Neoverse N1" test_cpp neoverse-n1 "neon, portable"
}

declare_native_parts() {
    local length longest
    longest=$("$LANE_PYTHON" tests/aarch64/programs/vector_length.py)
    [ -z "$need_sve" ] || [ "$longest" -gt 0 ] || fail 3 "this $(uname -m) processor has no SVE. The A64FX's kernels" \
        "cannot be tested on it. Leave --need-sve out, or run the lane on an x86-64 machine, which emulates an A64FX."
    part 1 "installed package" run_pytest tests/aarch64/test_installed.py
    part 1 "ops" run_pytest "${OPS[@]}"
    part 1 "C++ kernels" test_cpp this ""
    for length in 16 32 64; do
        [ "$length" -le "$longest" ] || continue
        part 1 "ops, SVE $length bytes" on "$length" run_pytest "${OPS_BY_SIZE[@]}"
        part 1 "C++ kernels, SVE $length bytes" test_cpp "$length" "$(sve "$length")"
    done
}

declare_"$LANE_MODE"_parts
part all "MPI backend, 2 ranks" run_pytest tests/comm/test_collectives.py -k '2 and not thread'
part all "MPI backend, 4 ranks" run_pytest tests/comm/test_collectives.py -k '4 or four'
part all "pretraining TP2 PP2, 4 ranks" run_pytest -rP tests/aarch64/test_pretraining.py

keep_parts "${words[@]}"
if [ -n "$listing" ]; then
    list_parts
    exit
fi
[[ ! ${part_names[*]} == *"C++"* ]] || build_cpp_tests
run_parts "$work"
