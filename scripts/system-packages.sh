#!/usr/bin/env bash
# Debian packages that the build and the tests use. Runs only as root or with CI=true: nobody's
# machine is changed unasked. Without them the native kernels and the tests that need them are skipped:
# g++ builds the kernels, and Spark, one of the SQL engines, runs on Java.
set -euo pipefail
wanted=(g++ curl default-jre-headless python3-venv)
if [ "$(id -u)" != 0 ] && [ "${CI:-}" != true ]; then exit 0; fi
command -v apt-get >/dev/null || exit 0
missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
echo "installing ${missing[*]}"
sudo=$([ "$(id -u)" = 0 ] || echo sudo)
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
