#!/usr/bin/env bash
# Software: opentelemetry-sdk 1.45.2
# Believed: a process forked after counting began either counts from zero or reports under its parent's identity, so
#     what was counted before the fork stands in the backend once.
# Seen: the child keeps the parent's sums and start time, but gets a service.instance.id of its own: two series, each
#     with the five events from before the fork. A sum over instances is too high by what each forked worker inherited.
#         parent 5, child 6, different service.instance.id, same start: 11 events where 6 happened
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q opentelemetry-sdk==1.45.2 >"$tmp/log" 2>&1 ||
    { cat "$tmp/log"; exit 1; }
timeout 50 "$tmp/v/bin/python" - <<'EOF'
import json, os
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

reader = InMemoryMetricReader()
counter = MeterProvider([reader]).get_meter("demo").create_counter("events")

def report():
    resource = reader.get_metrics_data().resource_metrics[0]
    point = resource.scope_metrics[0].metrics[0].data.data_points[0]
    return resource.resource.attributes["service.instance.id"], point.value, point.start_time_unix_nano

counter.add(5)
ends = os.pipe()
child = os.fork()
if child == 0:
    counter.add(1)
    os.write(ends[1], json.dumps(report()).encode())
    os._exit(0)
os.waitpid(child, 0)
of_child, of_parent = json.loads(os.read(ends[0], 4096)), report()
print("parent", of_parent, "child", of_child)
assert (of_parent[1], of_child[1]) == (5, 6)
assert of_parent[0] != of_child[0] and of_parent[2] == of_child[2]
EOF
