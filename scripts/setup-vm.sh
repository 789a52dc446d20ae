#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The Debian packages of the QEMU runner (docs/vm.md). What is there is left alone. Root, or sudo when
# packages are missing.
set -euo pipefail

WANTED="qemu-system-x86 mmdebstrap e2fsprogs util-linux git tcpdump"

missing=""
for package in $WANTED; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
		missing+=" $package"
done
[ -n "$missing" ] || exit 0

LINE="apt-get install --no-install-recommends$missing"
fail() {
	echo "setup-vm: $1; cure: $2" >&2
	exit 5
}
sudo=""
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || fail "packages are missing" "as root: $LINE"
	sudo=sudo
fi
echo "vm: installing$missing" >&2
LOG=$(mktemp)
trap 'rm -f "$LOG"' EXIT
apt() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq "$@"; }
# shellcheck disable=SC2086 # a list of names
if ! { apt update && apt install -y --no-install-recommends $missing; } >"$LOG" 2>&1; then
	fail "packages cannot be installed: $(grep -m 1 '^E:' "$LOG" || tail -n 1 "$LOG")" "$LINE"
fi
