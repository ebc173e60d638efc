#!/usr/bin/env bash
# Puts the compilers for Python and Go rules into the build folder, for the tests that judge such rules: 100 MB to download, 300 on disk.
# Nothing is installed outside. Without them those tests are skipped, in continuous integration they fail.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=${CARGO_TARGET_DIR:-target}/toolchains
mark=$dir/installed.txt
cmp -s tests/toolchains.txt "$mark" && exit 0
echo "toolchains: python3 -m pip install -r tests/toolchains.txt"
rm -rf "$dir"
mkdir -p "$dir"
export PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
if python3 -m pip --quiet --no-input --retries 1 install --no-deps --only-binary :all: --require-hashes \
    --target "$dir" -r tests/toolchains.txt >"$dir/pip.log" 2>&1; then
    cp tests/toolchains.txt "$mark"
    exit 0
fi
tail -n 5 "$dir/pip.log" >&2
echo "toolchains: no compilers for Python and Go rules; their tests are skipped" >&2
[ -z "${CI+x}" ]
