#!/usr/bin/env bash
# The report's arms on one GPU, several trainings on the device at once. Say it again to go on where it was stopped.
#
#     benchmarks/gpu_arms.sh OUT [MINUTES] [JOBS]
#
# What is finished after so many minutes is gathered in OUT/ablation.json, and each run's own files but its weights and
# checkpoint are copied to OUT. PRESET, SEEDS, ARMS and SCALE in the environment change what is trained.
set -euo pipefail
cd "$(dirname "$0")/.."

out=$1 minutes=${2:-9} jobs=${3:-6}
preset=${PRESET:-small} seeds=${SEEDS:-0-4}
arms=${ARMS:-report_up_down report_up report_hidden report_shared report_cosine report_default_init report_down report_none report_group_norm report_one_plus report_adaptive report_eq3 report_listing report_constant report_plateau report_both_schedules report_no_average report_plain report_guidance_1 report_guidance_4 report_clamp_output report_clamp_x_0}
scale=${SCALE:-n_feature=64 image_size=64 batch_size=128 epochs=60 warmup_steps=100 save_every=200}
lab7="python -m lab7.cli"

# shellcheck disable=SC2086  # these are lists of words
{
    $lab7 data
    status=0
    timeout --signal INT "$((60 * minutes))" \
        $lab7 ablate --preset "$preset" --seeds "$seeds" --jobs "$jobs" --arms $arms --set $scale || status=$?
    $lab7 ablate --preset "$preset" --arms $arms --set $scale --record "$out/ablation.json"
}
runs=runs/$preset
[ "$preset" != smoke ] || runs=build/smoke/runs
(cd "$runs" && find . -name result.json -printf '%h\n') | while read -r run; do
    mkdir -p "$out/$run"
    (cd "$runs/$run" && tar -cf - --exclude '*.pt' --exclude 'weights*' .) | tar -xf - -C "$out/$run"
done
[ "$status" -eq 0 ] && echo "all done" || echo "stopped with status $status; say it again to go on"
