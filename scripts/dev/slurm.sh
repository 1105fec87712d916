#!/usr/bin/env bash
# A real Slurm of one node on this machine, to try sweeps on: slurm.sh start | stop | folder
# Needs root and Debian's packages slurm-wlm and munge. Everything is in one folder, SLURM_FOLDER.
# Afterwards: export SLURM_CONF=$(scripts/dev/slurm.sh folder)/slurm.conf
set -euo pipefail
folder=${SLURM_FOLDER:-/tmp/one-node-slurm}
export SLURM_CONF=$folder/slurm.conf
host=$(hostname -s)
memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)  # MB

write_config() {
    # the states, spools and logs of a Slurm that is installed are left alone
    cat > "$SLURM_CONF" <<CONF
ClusterName=one
SlurmctldHost=$host
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=5
SlurmctldPort=17817
SlurmdPort=17818
NodeName=$host CPUs=$(nproc) RealMemory=$memory
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
}

start() {
    for command in munged slurmctld slurmd sinfo; do
        if ! command -v "$command" > /dev/null; then
            echo "there is no $command: apt-get install slurm-wlm munge" >&2
            exit 2
        fi
    done
    [ "$(id -u)" = 0 ] || { echo "slurmd needs root" >&2; exit 2; }
    mkdir -p "$folder"/state "$folder"/spool
    write_config
    if [ ! -e "$folder/munge.key" ]; then
        (umask 077; head -c 1024 /dev/urandom > "$folder/munge.key")
    fi
    # force: the folder may be in /tmp, which others can write to
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
        --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" \
        --seed-file="$folder/munged.seed"
    slurmctld -f "$SLURM_CONF"
    slurmd -f "$SLURM_CONF"
    for _ in $(seq 60); do
        if [ "$(sinfo --noheader --format=%T 2> /dev/null)" = idle ]; then
            echo "Slurm is up: export SLURM_CONF=$SLURM_CONF"
            return
        fi
        sleep 0.5
    done
    echo "Slurm did not come up; see $folder/*.log" >&2
    exit 1
}

stop() {
    for name in slurmd slurmctld munged; do
        if [ -e "$folder/$name.pid" ]; then
            kill "$(cat "$folder/$name.pid")" 2> /dev/null || true
        fi
    done
}

case "${1:-}" in
    start) start ;;
    stop) stop ;;
    folder) echo "$folder" ;;
    *) echo "usage: slurm.sh start | stop | folder" >&2; exit 2 ;;
esac
