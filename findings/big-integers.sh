#!/usr/bin/env bash
# Software: orjson 3.13.0, beside msgspec 0.22.0 and ujson 6.1.0
# Believed: orjson raises JSONDecodeError for an integer that it cannot hold, such as an event id above 2**64.
# Seen: it gives the nearest float and no error, so that two neighbouring ids become equal; as a key in a table one
#     event takes the other's place. msgspec and ujson give the exact integers, as the standard library does.
#         18446744073709551616 and 18446744073709551617: orjson 1.8446744073709552e+19 twice, the others two integers
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q orjson==3.13.0 msgspec==0.22.0 ujson==6.1.0 >"$tmp/log" 2>&1 ||
    { cat "$tmp/log"; exit 1; }
timeout 50 "$tmp/v/bin/python" - <<'EOF'
import json
import msgspec.json, orjson, ujson

text = '[{"id": 18446744073709551615}, {"id": 18446744073709551616}, {"id": 18446744073709551617}]'
readers = {"json": json.loads, "orjson": orjson.loads, "msgspec": msgspec.json.decode, "ujson": ujson.loads}
for name, loads in readers.items():
    ids = [event["id"] for event in loads(text)]
    print(name, ids)
    if name == "orjson":
        assert ids[0] == 2**64 - 1 and type(ids[0]) is int
        assert ids[1] == ids[2] and type(ids[1]) is float
    else:
        assert ids == [2**64 - 1, 2**64, 2**64 + 1]
EOF
