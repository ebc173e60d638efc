#!/bin/bash
# Runs as a unit in the container that ./run has booted: a line `ok WHAT` or `not ok WHAT` for each thing that is tried, `end` at the end.
set -u
export SYSTEMD_PAGER='' SYSTEMD_COLORS=0 LC_ALL=C

ok() { echo "ok $*"; }
not_ok() {
    echo "not ok $*"
    systemctl status postern.service --no-pager -l -n 25 2>&1 | sed 's/^/  | /'
}
# check WHAT COMMAND...
check() {
    local what=$1
    shift
    if "$@" >/tmp/said 2>&1; then ok "$what"; else
        sed 's/^/  > /' /tmp/said
        not_ok "$what"
    fi
}
# within SECONDS COMMAND...: until it succeeds
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}
property() { systemctl show postern.service --property="$1" --value; }
main() { property MainPID; }
is_guarded() { nft list table inet postern 2>/dev/null | grep -q '22'; }
is_running() { [ "$(property ActiveState)" = active ] && [ "$(property SubState)" = running ]; }
# What is said in the journal since a mark.
mark() { journalctl --show-cursor -n 0 -q | sed -n 's/^-- cursor: //p'; }
said() { journalctl -u postern.service --after-cursor="$1" -o cat -q | grep -q "$2"; }
restarts() { property NRestarts; }
# restarted BEFORE: more often than before, and running
restarted() { [ "$(restarts)" -gt "$1" ] && is_running; }
# Whatever becomes of the daemon: never without the guard, until stop_guarding.
watch_guard() {
    rm -f /tmp/unguarded /tmp/stop
    while [ ! -e /tmp/stop ]; do
        is_guarded || touch /tmp/unguarded
        sleep 0.02
    done &
}
stays_guarded() {
    touch /tmp/stop
    wait
    [ ! -e /tmp/unguarded ]
}

systemctl --version | head -n 1
uname -r

cat >/etc/postern/postern.toml <<'TOML'
interfaces = ["any"]
[doors.ssh]
guard = "tcp/22"
for   = "10m"
TOML
rule() {
    cat >/etc/postern/rules/ssh.toml <<TOML
module = "sequence"
door   = "ssh"
[settings]
sequence = ["$1/udp", "$2/udp"]
within   = "5s"
TOML
}
rule 1111 2222
mkdir -p /etc/systemd/system/postern.service.d
cat >/etc/systemd/system/postern.service.d/test.conf <<'CONF'
[Service]
WatchdogSec=6s
CONF

# A client on a wire of its own.
ip link set lo up
ip netns add client
ip link add eth0 type veth peer name eth0 netns client
ip address add 192.0.2.1/24 dev eth0
ip link set eth0 up
ip -n client address add 192.0.2.2/24 dev eth0
ip -n client link set eth0 up
ip -n client link set lo up
send() { ip netns exec client bash -c "echo >/dev/udp/192.0.2.1/$1" 2>/dev/null; }
knock() { for port in "$@"; do send "$port"; sleep 0.05; done; }
is_let_in() { nft list table inet postern 2>&1 | grep -q '192\.0\.2\.2'; }
is_any_left() { grep -lx posternd /proc/[0-9]*/comm 2>/dev/null; }

check "systemd takes the unit without a word" bash -c '! systemd-analyze verify /etc/systemd/system/postern.service 2>&1 | grep postern'
check "sysusers makes the user postern" bash -c 'systemd-sysusers && getent passwd postern'
systemctl daemon-reload
check "it starts, and systemd hears that it is ready" timeout 60 systemctl start postern.service
check "it guards" within 5 is_guarded
systemctl status postern.service --no-pager -n 0 | grep -E 'Main PID|Tasks|Memory' | sed 's/^/  /'
for process in $(cat "/sys/fs/cgroup$(property ControlGroup)/cgroup.procs"); do
    awk -v pid="$process" '/^(Name|Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):/ {line = line " " $1 $2} END {print "  process" line}' \
        "/proc/$process/status"
done
knock 1111 2222
check "a knock opens" within 5 is_let_in

before=$(restarts)
sleep 14
check "an idle network for twice the watchdog's time restarts nothing" [ "$(restarts)" = "$before" ]

at=$(mark)
rule 3333 4444
check "systemctl reload succeeds" timeout 20 systemctl reload postern.service
check "it is reloaded" within 5 said "$at" 'generation 2'
check "it runs on" within 5 is_running

at=$(mark) before=$(restarts)
watch_guard
systemctl kill --kill-whom=main --signal=STOP postern.service
check "a daemon that hangs is restarted by the watchdog" within 25 restarted "$before"
check "systemd says that it was the watchdog" bash -c "journalctl -u postern.service --after-cursor='$at' -q | grep -qi watchdog"
check "the guard was up all the while" stays_guarded
knock 3333 4444
check "a knock opens after it" within 5 is_let_in

before=$(restarts)
watch_guard
kill -KILL "$(main)"
check "a killed daemon is restarted" within 15 restarted "$before"
check "the guard was up all the while, again" stays_guarded

kept=$(property NFileDescriptorStore)
if nft flush ruleset 2>/dev/null; is_guarded; then
    before=$(restarts)
    kill -KILL "$(main)"
    sleep 0.3
    check "systemd keeps the socket that owns the table" [ "$kept" = 1 ]
    nft delete table inet postern 2>/dev/null
    check "nobody can remove the table while the daemon is away" is_guarded
    check "the next one starts with it" within 15 restarted "$before"
    rm -f /tmp/unguarded
    nft delete table inet postern 2>/dev/null
    check "and owns it" is_guarded
fi

# Where systemd knows it, the reload is a question with an answer.
if [ "$(systemctl --version | sed -n 's/^systemd \([0-9]*\).*/\1/p')" -ge 253 ]; then
    cp /dist/postern.service.d/notify-reload.conf /etc/systemd/system/postern.service.d/
    systemctl daemon-reload
    systemctl restart postern.service
    at=$(mark)
    rule 5555 6666
    sed -i 's/10m/9m/' /etc/postern/postern.toml
    check "with notify-reload systemctl reload succeeds" timeout 20 systemctl reload postern.service
    check "and returns when the reload is done" said "$at" 'generation [2-9]'
    echo nonsense >/etc/postern/rules/ssh.toml
    check "a reload that is refused does not hang" timeout 20 systemctl reload postern.service
    check "and the daemon runs on" is_running
    rule 5555 6666
fi

check "it stops in time" timeout 20 systemctl stop postern.service
check "guarded ports stay closed" is_guarded
check "it left nothing running" [ -z "$(is_any_left)" ]
check "the journal of systemd has no word of a call that was refused" bash -c '! journalctl -b -q -u postern.service | grep -i "not permitted"'
systemd-analyze security postern.service --no-pager 2>&1 | tail -n 1
echo end
