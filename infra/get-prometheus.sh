#!/usr/bin/env bash
# Puts prometheus, promtool, prometheus-alertmanager and amtool into a folder, from Debian's packages and without
# installing them (their services would start). Does nothing where they are on the PATH or in the folder already.
set -euo pipefail
target=$(mkdir -p "$1" && cd "$1" && pwd)
programs=(prometheus promtool prometheus-alertmanager amtool)
missing=0
for program in "${programs[@]}"; do
  [ -x "$target/$program" ] || command -v "$program" >/dev/null || missing=1
done
[ "$missing" = 0 ] && exit 0
command -v apt-get >/dev/null || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
apt-get -qq download prometheus prometheus-alertmanager >/dev/null 2>&1 || {
  [ "$(id -u)" = 0 ] && apt-get -qq update && apt-get -qq download prometheus prometheus-alertmanager >/dev/null
}
for package in *.deb; do dpkg -x "$package" unpacked; done
for program in "${programs[@]}"; do install -m 755 "unpacked/usr/bin/$program" "$target/$program"; done
