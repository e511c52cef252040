#!/usr/bin/env bash
# Needs a Waiter on port 9091, or elsewhere if WAITER_URL says so. Starts a service by asking for it, loads it with 20
# clients, and watches it grow, shrink and go: about 40 seconds, because the headers ask for quick factors and a short
# idle timeout.
set -euo pipefail
waiter=${WAITER_URL:-http://127.0.0.1:9091}
here=$(cd "$(dirname "$0")" && pwd)
service=(
    -H "x-waiter-cmd: exec python3 $here/slow.py \$PORT0"
    -H 'x-waiter-name: demo' -H 'x-waiter-version: 1' -H 'x-waiter-cpus: 0.1' -H 'x-waiter-mem: 64'
    -H 'x-waiter-health-check-url: /health'
    -H 'x-waiter-scale-up-factor: 0.9' -H 'x-waiter-scale-down-factor: 0.9' -H 'x-waiter-idle-timeout-mins: 0.2'
)

say() { printf '%3ds  %s\n' "$SECONDS" "$*"; }
ask() { curl -sS --fail "${service[@]}" "$waiter/"; }
look() {
    curl -sS --fail -H 'accept: application/json' "$waiter/apps/$id" |
        python3 -c 'import json, sys; s = json.load(sys.stdin); print(s["status"], "with", len(s["instances"]["active-instances"]), "instances")'
}

id=$(curl -sS --fail "${service[@]}" "$waiter/service-id")
say "the service is called $id"
say "first request:  $(ask)"
say "second request: $(ask)"
say "20 clients, 15 seconds"
end=$((SECONDS + 15))
for _ in $(seq 20); do
    while ((SECONDS < end)); do ask >/dev/null; done &
done
while ((SECONDS < end)); do
    sleep 3
    say "$(look)"
done
wait
say "no more clients"
for _ in $(seq 20); do
    sleep 3
    now=$(look)
    say "$now"
    [[ $now == Inactive* ]] && break
done
