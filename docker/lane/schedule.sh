# Runs named parts, says how each ended and counts their tests. Sourced by parts.sh.
# shellcheck shell=bash
: "${program:?common.sh comes first}"

part_names=() part_cores=() part_commands=()

# part CORES NAME COMMAND...: CORES is 1, or "all" for a part that runs alone.
part() {
    part_cores+=("$1")
    part_names+=("$2")
    shift 2
    part_commands+=("$(printf '%q ' "$@")")
}

# Drops the parts whose names contain none of the words; keeps all when there is no word.
keep_parts() {
    [ $# -gt 0 ] || return 0
    local index word names=() cores=() commands=()
    for index in "${!part_names[@]}"; do
        for word in "$@"; do
            [[ ${part_names[index],,} == *"${word,,}"* ]] || continue
            names+=("${part_names[index]}") cores+=("${part_cores[index]}") commands+=("${part_commands[index]}")
            break
        done
    done
    [ "${#names[@]}" -gt 0 ] || fail 2 "no part is named like: $*. There are: $(list_parts | paste -sd ';' - | sed 's/;/; /g')."
    part_names=("${names[@]}") part_cores=("${cores[@]}") part_commands=("${commands[@]}")
}

list_parts() { printf '%s\n' "${part_names[@]}"; }

# count WORD LOG: the number before WORD in the last line in which pytest or doctest sums up.
count() {
    local line
    line=$(grep -E '^(=+ )?[0-9]+ (passed|failed|skipped|errors?|deselected)|^\[doctest\] test cases:' "$2" | tail -n 1)
    grep -oE "[0-9]+ $1" <<<"$line" | grep -oE '^[0-9]+' || echo 0
}

start_part() {
    local index=$1 log=$2
    (
        set +e
        started=$SECONDS
        # A subshell, whose CPU seconds `times` then gives.
        (eval "${part_commands[index]}") >"$log" 2>&1 </dev/null
        echo $? >"$log.status"
        echo $((SECONDS - started)) >"$log.seconds"
        times >"$log.cpu"
    ) &
}

# Of children, in the second line of `times`: 1m2.345s 0m3.2s -> 65
cpu_seconds() { awk -F"[ms ]+" "END { printf \"%.0f\", \$1 * 60 + \$2 + \$3 * 60 + \$4 }" "$1"; }

total_passed=0 total_failed=0 total_skipped=0

# Says how a part ended, with its log when it failed, and adds its tests to the totals.
finish_part() {
    local index=$1 log=$2 status passed failed skipped verdict=ok
    status=$(cat "$log.status" 2>/dev/null || echo killed)
    passed=$(count passed "$log") failed=$(count failed "$log") skipped=$(count skipped "$log")
    failed=$((failed + $(count 'errors?' "$log")))
    if [ "$status" != 0 ] || [ "$passed" -eq 0 ]; then
        verdict=FAILED
        [ "$failed" -gt 0 ] || failed=1
        printf -- '--- %s\n' "${part_names[index]}"
        tail -n 60 "$log"
        [ "$status" != 0 ] || echo "no test ran"
        [ "$status" = 0 ] || echo "exit status $status"
        echo "---"
    fi
    total_passed=$((total_passed + passed)) total_failed=$((total_failed + failed))
    total_skipped=$((total_skipped + skipped))
    printf '%s [%3d s]: %-6s %s: %d passed' "$program" "$SECONDS" "$verdict" "${part_names[index]}" "$passed"
    [ "$failed" -eq 0 ] || printf ', %d failed' "$failed"
    [ "$skipped" -eq 0 ] || printf ', %d skipped' "$skipped"
    printf ' in %d s (%s s of CPU)\n' "$(cat "$log.seconds" 2>/dev/null || echo 0)" "$(cpu_seconds "$log.cpu")"
    sed -n 's/^measured: /    /p' "$log"
}

# run_parts FOLDER: all parts, logs in FOLDER; returns 1 when one failed.
run_parts() {
    local folder=$1 index process
    local -A running=()
    # Waits until at most $1 parts run.
    wait_for_parts() {
        while [ "${#running[@]}" -gt "$1" ]; do
            for process in "${!running[@]}"; do
                ! kill -0 "$process" 2>/dev/null || continue
                finish_part "${running[$process]}" "$folder/part.${running[$process]}"
                unset "running[$process]"
            done
            [ "${#running[@]}" -le "$1" ] || wait -n || true
        done
    }
    for index in "${!part_names[@]}"; do
        if [ "${part_cores[index]}" = all ]; then
            wait_for_parts 0
        else
            wait_for_parts $((${LANE_CORES:-$(nproc)} - 1))
        fi
        start_part "$index" "$folder/part.$index"
        running[$!]=$index
        [ "${part_cores[index]}" != all ] || wait_for_parts 0
    done
    wait_for_parts 0
    printf '%d passed' "$total_passed"
    [ "$total_failed" -eq 0 ] || printf ', %d failed' "$total_failed"
    [ "$total_skipped" -eq 0 ] || printf ', %d skipped' "$total_skipped"
    printf ' in %ds\n' "$SECONDS"
    [ "$total_failed" -eq 0 ]
}
