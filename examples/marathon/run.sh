#!/usr/bin/env bash
# One command for the whole: a Marathon, ZooKeeper where it is installed (Debian: apt-get install zookeeper), and a Waiter that
# uses them, in the foreground, all on loopback and in a temporary directory. Ctrl-C ends it all.
#
# The Marathon is the double that the tests use: it speaks the real one's API and runs its tasks as processes of this machine.
# Needs Waiter in .venv, or what PYTHON says: .venv/bin/pip install .
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH=$PWD
python=${PYTHON:-.venv/bin/python}
waiter_port=${WAITER_PORT:-9091}
# Waiter would take it for a setting, and say that it is none.
unset WAITER_PORT
marathon_port=${MARATHON_PORT:-8080}
agent_port=${AGENT_PORT:-5051}
zookeeper_port=${ZOOKEEPER_PORT:-2181}
jars=/usr/share/java/zookeeper.jar:/usr/share/java/zookeeper-jute.jar

directory=$(mktemp -d)
running=()
clean_up() {
    trap - EXIT
    for pid in "${running[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$directory"
}
trap clean_up EXIT
# In groups of their own: Ctrl-C is for Waiter, which needs the others until it has ended.
set -m

"$python" -m tests.doubles.marathon --port "$marathon_port" --agent-port "$agent_port" --directory "$directory/marathon" \
    >"$directory/marathon.log" 2>&1 &
running+=($!)
export WAITER_SCHEDULER_KIND=marathon WAITER_MARATHON_URLS="[\"http://127.0.0.1:$marathon_port\"]"
# There is one host only.
export WAITER_MARATHON_AGENT_PORT=$agent_port WAITER_MARATHON_MIN_HOSTS=1

if command -v java >/dev/null && [[ -e ${jars%%:*} ]]; then
    printf '%s\n' tickTime=500 "dataDir=$directory/zookeeper" "clientPort=$zookeeper_port" clientPortAddress=127.0.0.1 \
        admin.enableServer=false >"$directory/zoo.cfg"
    mkdir "$directory/zookeeper"
    java -Xmx128m -cp "$jars" org.apache.zookeeper.server.ZooKeeperServerMain "$directory/zoo.cfg" >"$directory/zookeeper.log" 2>&1 &
    running+=($!)
    # A router that meets others does not scale until it knows that it is alone: twice the time a router may take to leave.
    export WAITER_ZOOKEEPER_CONNECT_STRING=127.0.0.1:$zookeeper_port WAITER_STORE_KIND=zookeeper WAITER_LISTEN_DRAIN_TIMEOUT_SECS=5
    echo "ZooKeeper: 127.0.0.1:$zookeeper_port"
else
    echo "ZooKeeper: not installed, so descriptions of services are kept by Waiter itself"
fi
for _ in $(seq 100); do
    (exec 3<>"/dev/tcp/127.0.0.1/$marathon_port") 2>/dev/null && break
    sleep 0.1
done
cat <<END
Marathon:  http://127.0.0.1:$marathon_port/v2/apps
Waiter:    http://127.0.0.1:$waiter_port

Try, in another terminal:
    curl -H 'x-waiter-cmd: exec python3 -m http.server --bind \$HOST \$PORT0' -H 'x-waiter-version: v1' -H 'x-waiter-cpus: 0.1' \\
         -H 'x-waiter-mem: 128' -H 'x-waiter-health-check-url: /' http://127.0.0.1:$waiter_port/
    WAITER_URL=http://127.0.0.1:$waiter_port examples/demo.sh
    curl http://127.0.0.1:$waiter_port/state/scheduler

END
"$(dirname "$python")/twistd" -n --pidfile= waiter --http "tcp:$waiter_port:interface=127.0.0.1" --state-dir "$directory/waiter" &
waiter=$!
trap 'kill -INT "$waiter" 2>/dev/null || true' INT TERM
until wait "$waiter"; do kill -0 "$waiter" 2>/dev/null || break; done
