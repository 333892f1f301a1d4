# Ends a server of the test harness and removes its directory, $1, as soon as standard input ends: that is when the test
# is done with it, or when its process has died, however it did. Each line read is the process id of the server, or of
# what makes its data, or empty while neither runs.
trap '' HUP INT TERM
while read -r line; do server=$line; done

runs() { grep -qs '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$server/status"; }

# Its children: each leads a session of its own, so that no signal reaches them all.
children() { grep -l "^PPid:[[:space:]]*$server\$" /proc/[0-9]*/status 2>/dev/null | cut -d / -f 3; }

if [ -n "$server" ] && runs; then
    # It may be frozen. An immediate shutdown takes its children and its shared memory with it.
    kill -CONT "$server" $(children) 2>/dev/null
    kill -QUIT "$server" 2>/dev/null
    patience=200
    while runs && [ "$patience" -gt 0 ]; do
        sleep 0.05
        patience=$((patience - 1))
    done
    if runs; then
        # Stopped, it starts no more children.
        kill -STOP "$server" 2>/dev/null
        kill -KILL $(children) "$server" 2>/dev/null
    fi
fi

# A server that was killed leaves its System V segment; the seventh line of its lock file says which.
segment=$(sed -n '7s/.* //p' "$1/data/postmaster.pid" 2>/dev/null)
[ -z "$segment" ] || ipcrm -m "$segment" 2>/dev/null
grep -qs " $1/data " /proc/mounts && umount -l "$1/data"
rm -rf "$1"
