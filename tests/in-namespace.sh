#!/bin/sh
# Runs a command in fresh network, mount and process namespaces, so that whatever it does to interfaces and firewalls
# happens to nobody else, and whatever it starts, compiles or puts in TMPDIR ends with it. `cargo` uses it as the runner of test binaries.
# As a normal user it needs unprivileged user namespaces. Where none can be made it runs the command as it
# is: what needs them then says so itself.
set -u
PATH=$PATH:/usr/sbin:/sbin
# Files that a group could write are refused by the daemon, and some give new files to a group by default.
umask 022

# The shell stays: as the first process of its namespace it reaps orphans, which a test binary would not.
inside='ip link set lo up; mount -t tmpfs tmpfs /run && mkdir -p /run/lock /run/netns /run/tmp && export TMPDIR=/run/tmp CACHE_DIRECTORY=/run/code; "$@"; exit $?'
user=
[ "$(id -u)" -eq 0 ] || user='--user --map-root-user'

# The process namespace is a convenience that some containers refuse; the others are not.
for kinds in '--net --mount --pid --fork --kill-child --mount-proc' '--net --mount'; do
    # shellcheck disable=SC2086 # several words each
    if unshare $user $kinds ip link set lo up 2>/dev/null; then
        exec unshare $user $kinds sh -c "$inside" in-namespace "$@"
    fi
done
echo "in-namespace.sh: no namespaces for $(id -un) here; running without" >&2
exec "$@"
