#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Sets a Debian machine up: packages, .venv with the Python dependencies, kernel headers for
# bcc. What is there is left alone, so a second run takes a second. Root, or sudo when
# packages are missing. Everything that the tools say goes to build/setup.log.
#
# The bpf file system is not mounted here: iridescent does it when it needs it.
set -euo pipefail
cd "$(dirname "$0")/.."

LOG=$PWD/build/setup.log
VENV=$PWD/.venv
SYSTEM_PYTHON=/usr/bin/python3 # bcc is installed for the distribution's interpreter only
CLANGS="19 20 21 22 18 17 16"  # in this order; older clangs write IR that LLVM 22 cannot read

say() { printf '%-10s %s\n' "$1" "$2"; }

# fail CAUSE CURE: one line, and where the rest is
fail() {
	echo "setup: $1; cure: $2 (log: $LOG)" >&2
	exit 5
}

# run CAUSE CURE COMMAND...: output to the log; its last error line is told on failure
run() {
	local cause=$1 cure=$2 from
	shift 2
	from=$(($(wc -l <"$LOG") + 1))
	echo "+ $*" >>"$LOG"
	"$@" >>"$LOG" 2>&1 </dev/null && return
	local words
	words=$(tail -n "+$from" "$LOG" | grep -E '^(E:|ERROR|error|.*Error:)' | tail -n 1 || true)
	fail "$cause${words:+: $words}" "$cure"
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

apt() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@"
}

have_clang() {
	local version
	for version in $CLANGS; do
		if command -v "clang-$version" >/dev/null; then return 0; fi
	done
	return 1
}

# the newest suitable clang that apt offers
clang_package() {
	local version
	for version in $CLANGS; do
		if apt-cache show "clang-$version" >/dev/null 2>&1; then
			echo "clang-$version"
			return
		fi
	done
}

missing_packages() {
	local package wanted="python3-bpfcc python3-venv libbpf1 linux-libc-dev xdp-tools iproute2"
	# tests look at the report in it; not in the guests of docs/vm.md
	[ -n "${IRIDESCENT_NO_BROWSER:-}" ] || wanted+=" chromium"
	if [ ! -f "/lib/modules/$(uname -r)/build/include/generated/autoconf.h" ]; then
		wanted+=" linux-headers-$(dpkg --print-architecture)"
	fi
	for package in $wanted; do
		installed "$package" || echo "$package"
	done
	have_clang || echo clang
}

packages() {
	local missing clang
	missing=$(missing_packages | xargs)
	if [ -z "$missing" ]; then
		say packages "all there"
		return
	fi
	if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
		fail "packages are missing ($missing)" "run this as root, or install sudo"
	fi
	say packages "installing $missing"
	run "apt-get update failed" "check the network and /etc/apt" apt update
	clang=$(clang_package)
	[ -n "$clang" ] || fail "apt offers no clang 16 or newer" "add Debian's updates to /etc/apt"
	missing=${missing/%clang/$clang}
	# shellcheck disable=SC2086 # a list of names
	run "packages cannot be installed ($missing)" "read the log, then try again" \
		apt install -y --no-install-recommends $missing
}

environment() {
	if [ -f "$VENV/pyvenv.cfg" ] &&
		grep -q '^include-system-site-packages = true' "$VENV/pyvenv.cfg" &&
		[ "$("$VENV/bin/python" -c "$PYTHON_VERSION" 2>&1)" = "$VERSION" ]; then
		say venv "there (Python $VERSION)"
		return
	fi
	say venv "making .venv with $SYSTEM_PYTHON ($VERSION)"
	run "the virtual environment cannot be made" "apt-get install python3-venv; rm -rf .venv" \
		"$SYSTEM_PYTHON" -m venv --clear --system-site-packages "$VENV"
}

dependencies() {
	local stamp=$VENV/.installed digest
	digest=$({ cat pyproject.toml; echo "$VERSION $PWD"; } | sha256sum | cut -d ' ' -f 1)
	if [ "$(cat "$stamp" 2>/dev/null)" = "$digest" ]; then
		say python "pyproject.toml is unchanged"
		return
	fi
	say python "installing what pyproject.toml asks for"
	run "pip failed" "check the network, then run make setup again" \
		"$VENV/bin/python" -m pip install --disable-pip-version-check -e '.[dev]'
	echo "$digest" >"$stamp"
}

# the package called bcc on PyPI is something else and hides the distribution's
bcc_module() {
	local seen
	if ! seen=$("$VENV/bin/python" -c 'import bcc; print(bcc.__file__); bcc.BPF' 2>>"$LOG"); then
		fail "'import bcc; bcc.BPF' fails${seen:+: $seen is not the BPF Compiler Collection}" \
			"${seen:+.venv/bin/python -m pip uninstall bcc; }apt-get install python3-bpfcc"
	fi
	say bcc "$seen"
}

headers() {
	local tree
	if ! tree=$("$VENV/bin/python" -m iridescent_xdp.toolchain.headers 2>&1); then
		echo "$tree" >>"$LOG"
		fail "kernel headers: ${tree##*$'\n'}" "read the log"
	fi
	say headers "$tree"
}

mkdir -p "$(dirname "$LOG")"
: >"$LOG" 2>/dev/null || fail "$LOG cannot be written" "rm it, it may be root's"
command -v dpkg-query apt-get >/dev/null ||
	fail "this is no Debian system (no apt-get)" "install what scripts/setup.sh lists by hand"
packages
PYTHON_VERSION='import platform; print(platform.python_version())'
VERSION=$("$SYSTEM_PYTHON" -c "$PYTHON_VERSION")
"$SYSTEM_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
	fail "$SYSTEM_PYTHON is Python $VERSION, 3.11 or newer is needed" "use Debian 12 or newer"
environment
dependencies
bcc_module
headers
say done "see what this machine can do: .venv/bin/iridescent doctor"
