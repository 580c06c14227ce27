#!/usr/bin/env bash
# A Slurm cluster of this machine alone. `lab7 ablate --submit slurm` hands six arms over; two are preempted by another
# job while they train, one is killed and requeued. The table and the weights must be those of `lab7 ablate --jobs 2`.
#
# Needs root, and lab7 on the PATH. Installs Debian's slurm-wlm and munge where they are missing; all else lies in a
# temporary folder, and no daemon is left running.
set -euo pipefail

say() { echo "$(date +%T) $*" >&2; }
fail() { say "FAILED: $*" && exit 1; }
wait_for() { # SECONDS COMMAND...: until the command succeeds
    local end=$((SECONDS + $1))
    shift
    until "$@"; do [ $SECONDS -lt $end ] || fail "waited too long for: $*"; sleep 0.1; done
}

{ command -v slurmctld && command -v slurmd && command -v munged; } >/dev/null || {
    say "installing slurm-wlm and munge"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update && apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends slurm-wlm munge
} >/dev/null 2>&1 || fail "slurm-wlm and munge cannot be installed"

place=$(mktemp -d /tmp/lab7-slurm.XXXXXX)
chmod 755 "$place" # munge asks for it
export SLURM_CONF=$place/slurm.conf
daemons=()
idle() { [ -z "$(squeue --noheader)" ]; }
stop() {
    local status=$?
    trap - EXIT INT TERM
    [ $status -eq 0 ] || tail -n 30 "$place"/*.log "$place"/slurm/smoke/runs/submitit/*.err >&2 || true
    [ ${#daemons[@]} -lt 3 ] || (scancel --user=root && wait_for 60 idle) || true
    kill "${daemons[@]}" 2>/dev/null && wait "${daemons[@]}" || true
    rm -rf "$place"
    exit $status
}
trap stop EXIT
trap 'exit 143' INT TERM
read -r port1 port2 < <(python -c '
import socket
two = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(one.getsockname()[1] for one in two))')
host=$(hostname -s)
cat >"$SLURM_CONF" <<CONF
ClusterName=lab7
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port1
SlurmdPort=$port2
SlurmUser=root
AuthType=auth/munge
# A requeued job waits as long as its credential is valid: two minutes, unless it is said otherwise.
AuthInfo=socket=$place/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.pid
NodeName=$host NodeAddr=127.0.0.1 CPUs=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=2
SlurmctldParameters=preempt_send_user_signal
SchedulerParameters=sched_interval=1,sched_min_interval=0
PartitionName=lab Nodes=$host Default=YES PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=$host PriorityTier=2 PreemptMode=OFF
CONF
mkdir "$place/state" "$place/spool"
(umask 077 && head -c 1024 /dev/urandom >"$place/key")
start() { "$@" 2>"$place/$1.log" & daemons+=($!); }
start munged --foreground --{key-file="$place/key",socket="$place/munge.socket",pid-file="$place/pid",seed-file="$place/seed"}
wait_for 30 test -S "$place/munge.socket"
start slurmctld -D
start slurmd -D
node_is_up() { sinfo --noheader --format=%T | grep -q idle; }
wait_for 60 node_is_up
say "the cluster is up"

export OMP_NUM_THREADS=1 LAB7_BUILD=$place/jobs log=$place/lab7.log
arms=(report_up report_down report_up_down report_hidden ours_up ours_up_down)
ablate=(lab7 ablate --preset smoke --arms "${arms[@]}" --json --set scenes=8 judge_scenes=4 evaluation_scenes=2
    batch_size=4 epochs=6 save_every=1000 snapshots=1 sampling.num_steps=2)
lab7 data --scenes 8 --out "$LAB7_BUILD/smoke/data" >>"$log" 2>&1
for list in test new_test; do echo '[["red cube"], ["cyan sphere", "gray cube"]]' >"$LAB7_BUILD/smoke/data/$list.json"; done
"${ablate[@]}" --jobs 2 >"$place/jobs.json" 2>>"$log"
say "--jobs 2 is done"

export LAB7_BUILD=$place/slurm SBATCH_TIMELIMIT=60
runs=$LAB7_BUILD/smoke/runs
mkdir -p "$LAB7_BUILD/smoke" && cp -r "$place/jobs/smoke/data" "$LAB7_BUILD/smoke"
job=$("${ablate[@]}" --submit slurm 2>>"$log" | python -c 'import json, sys; print(json.load(sys.stdin)[0].split("_")[0])')
[ "$(squeue --noheader --array --job "$job" --format=%l | sort | uniq -c | xargs)" = "6 1:00:00" ] || fail "not one array"
wait_for 120 test -e "$runs/report_up/metrics.jsonl" # the first two are training
wait_for 120 test -e "$runs/report_down/metrics.jsonl"
sbatch --partition=urgent --cpus-per-task=2 --output=/dev/null --wrap "sleep 1" >/dev/null
wait_for 120 test -e "$runs/report_up/checkpoint.pt" # only the signal and the last step write one
say "preempted the first two, report_up while it $([ -e "$runs/report_up/result.json" ] && echo was scored || echo trained)"
wait_for 120 test -e "$runs/report_hidden/metrics.jsonl"
scontrol requeue "${job}_3"
say "killed report_hidden"
wait_for 400 idle
say "the array is done"
for task in 0 1 3; do
    [ "$(grep -c 'Starting with' "$runs/submitit/${job}_${task}_0_log.out")" = 2 ] || fail "task $task did not start again"
done
left=$("${ablate[@]}" --submit slurm 2>>"$log")
[ "$left" = "[]" ] || fail "runs are left: $left"
"${ablate[@]}" >"$place/slurm.json" 2>>"$log"
cmp "$place/jobs.json" "$place/slurm.json" || fail "the tables differ"
for arm in "${arms[@]}"; do
    cmp {"$place/jobs/smoke/runs","$runs"}/"$arm"/weights.safetensors || fail "the weights of $arm differ"
done
say "the same table and the same weights"
