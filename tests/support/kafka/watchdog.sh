# Ends a broker of the test harness and removes its directory, $1, as soon as standard input ends: that is when the test is
# done with it, or when its process has died, however it did. Each line read is the process id of the broker, or of what
# formats its storage, or empty while neither runs.
trap '' HUP INT TERM
while read -r line; do broker=$line; done

runs() { grep -qs '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$broker/status"; }

if [ -n "$broker" ] && runs; then
    kill -KILL "$broker" 2>/dev/null
    while runs; do sleep 0.02; done
fi
rm -rf "$1"
