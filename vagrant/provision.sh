#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Makes a Debian system ready for Iridescent and its VM tests: Vagrant runs it in both machines, the
# QEMU runner runs it in the image that it builds. A second run changes nothing. As root.
#
#   provision.sh [PROJECT]    the work tree; /iridescent if not given
#
# What needs no network of the VM's: packages (tcpdump, ethtool, and what scripts/setup.sh lists),
# the virtual environment, kernel headers, modules that are loaded at boot.
set -euo pipefail

PROJECT=${1:-/iridescent}
PACKAGES="ca-certificates iproute2 ethtool tcpdump kmod procps make sudo"
MODULES="pktgen veth" # loaded at boot; everything else is loaded on demand

say() { printf 'provision: %s\n' "$*"; }

[ "$(id -u)" = 0 ] || {
	echo "provision: this needs root" >&2
	exit 5
}
[ -f "$PROJECT/scripts/setup.sh" ] || {
	echo "provision: $PROJECT has no scripts/setup.sh; copy the work tree there" >&2
	exit 5
}
export DEBIAN_FRONTEND=noninteractive

missing=""
for package in $PACKAGES; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
		missing+=" $package"
done
if [ -n "$missing" ]; then
	say "installing$missing"
	apt-get -o DPkg::Lock::Timeout=300 -qq update
	# shellcheck disable=SC2086 # a list of names
	apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends $missing
fi

# the same set-up as on any machine: compilers, bcc, headers, .venv
IRIDESCENT_NO_BROWSER=1 "$PROJECT/scripts/setup.sh"

printf '%s\n' $MODULES >/etc/modules-load.d/iridescent.conf
printf 'net.core.bpf_jit_enable=1\n' >/etc/sysctl.d/60-iridescent.conf
printf '#!/bin/sh\nexec %s/.venv/bin/iridescent "$@"\n' "$PROJECT" >/usr/local/bin/iridescent
chmod 755 /usr/local/bin/iridescent

# now, where a kernel of this system's runs (an image that is being built has none)
if [ -d "/lib/modules/$(uname -r)" ] && [ -d /run/systemd/system ]; then
	for module in $MODULES; do modprobe "$module"; done
	sysctl -q -p /etc/sysctl.d/60-iridescent.conf
fi
say "done"
