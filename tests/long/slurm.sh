#!/usr/bin/env bash
# Start or stop a cluster of SLURM of one node on this machine, for tests.
#
#     apt-get install munge slurmctld slurmd        # Debian; for accounting mariadb-server slurmdbd
#     tests/long/slurm.sh start FOLDER [accounting]
#     SLURM_CONF=FOLDER/slurm.conf sinfo
#     tests/long/slurm.sh stop FOLDER
#
# It needs root, and neither systemd nor cgroups. All of its files are in FOLDER, and it listens on
# the loopback only. The node claims four cores, whatever the machine has, so that several jobs run
# at once. Jobs of the partition `high` push out those of the partition `low`, which are put back
# into the queue; a job that takes more memory than it asked for is killed.
set -euo pipefail
PORT=${SLURM_TEST_PORT:-16817}  # of slurmctld; slurmd, slurmdbd and MariaDB have the next ones

start() {
    mkdir -p "$home"/{state,spool,log,munge}
    chmod 755 "$home" "$home"/munge
    dd if=/dev/urandom of="$home"/munge.key bs=1024 count=1 status=none
    chmod 600 "$home"/munge.key
    host=$(hostname -s)
    write_configuration
    munged --force --key-file "$home"/munge.key --socket "$home"/munge/socket \
        --pid-file "$home"/munge/pid --log-file "$home"/log/munged --seed-file "$home"/munge/seed
    export SLURM_CONF=$home/slurm.conf
    [ -z "$accounting" ] || start_accounting
    slurmctld -c
    slurmd -N "$host"
    for _ in $(seq 60); do
        sinfo --noheader --format %t 2> /dev/null | grep -q idle && return
        sleep 0.5
    done
    echo "the node is not idle after 30 s; see $home/log" >&2
    sinfo --long >&2
    exit 1
}

write_configuration() {
    cat > "$home"/slurm.conf << END
ClusterName=nasrun
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$PORT
SlurmdPort=$((PORT + 1))
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$home/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/slurmd.pid
SlurmctldLogFile=$home/log/slurmctld
SlurmdLogFile=$home/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=2
MinJobAge=${SLURM_TEST_MIN_JOB_AGE:-300}
SchedulerParameters=sched_interval=2,sched_min_interval=0
SlurmdParameters=config_overrides
ReturnToService=1
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000 State=UNKNOWN
PartitionName=low Nodes=$host Default=YES PriorityTier=1
PartitionName=high Nodes=$host PriorityTier=10 PreemptMode=OFF
END
    if [ -n "$accounting" ]; then
        cat >> "$home"/slurm.conf << END
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePass=$home/munge/socket
AccountingStoragePort=$((PORT + 2))
END
    fi
}

start_accounting() {
    mkdir -p "$home"/mariadb
    mariadb-install-db --user=root --datadir="$home"/mariadb --skip-test-db \
        --auth-root-authentication-method=normal > "$home"/log/mariadb-install 2>&1
    mariadbd --no-defaults --user=root --datadir="$home"/mariadb --socket="$home"/mariadb/socket \
        --bind-address=127.0.0.1 --port=$((PORT + 3)) --pid-file="$home"/mariadb.pid \
        > "$home"/log/mariadb 2>&1 &
    for _ in $(seq 60); do
        mariadb-admin --socket="$home"/mariadb/socket --user=root ping > /dev/null 2>&1 && break
        sleep 0.5
    done
    cat > "$home"/slurmdbd.conf << END
AuthType=auth/munge
AuthInfo=socket=$home/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((PORT + 2))
SlurmUser=root
LogFile=$home/log/slurmdbd
PidFile=$home/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((PORT + 3))
StorageUser=root
StorageLoc=slurm
END
    chmod 600 "$home"/slurmdbd.conf
    slurmdbd
    for _ in $(seq 60); do
        sacctmgr --immediate add cluster nasrun > /dev/null 2>&1 && return
        sacctmgr --noheader show cluster 2> /dev/null | grep -q nasrun && return
        sleep 0.5
    done
    echo "there is no accounting after 30 s; see $home/log/slurmdbd" >&2
    exit 1
}

stop() {
    export SLURM_CONF=$home/slurm.conf
    scancel --full --user="$(id -un)" 2> /dev/null || true
    for name in slurmd slurmctld slurmdbd mariadb munge/pid; do
        file=$home/$name.pid
        [ -e "$file" ] || file=$home/$name
        if [ -f "$file" ]; then
            pid=$(cat "$file")
            kill "$pid" 2> /dev/null || true
            for _ in $(seq 40); do
                kill -0 "$pid" 2> /dev/null || break
                sleep 0.25
            done
        fi
    done
}

case ${1:-} in
    start | stop) ;;
    *) sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
home=$(realpath -m "${2:?a folder}")
accounting=${3:-}
"$1"
