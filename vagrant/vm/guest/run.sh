#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# In the guest: two namespaces with a virtio NIC each, then the command (docs/vm.md says what it
# may rely on). The host wrote .vm/run.env; its exit code goes to /results/exit-code-N.
set -u
cd /iridescent || exit 9
set -a
# shellcheck disable=SC1091 # written by the host
. .vm/run.env
IRIDESCENT_VM=1 IRIDESCENT_REQUIRE_KERNEL=1 PYTHONDONTWRITEBYTECODE=1
VM_DUT_NS=dut VM_GEN_NS=gen VM_DUT_IF=dut0 VM_GEN_IF=gen0
VM_E1000E_DUT_IF=dut1 VM_E1000E_GEN_IF=gen1
PATH=/iridescent/.venv/bin:$PATH HOME=/root LANG=C.UTF-8
set +a

# wire NAMESPACE NAME MAC: the NIC with this address goes there under this name, up and silent
wire() {
	local at
	for _ in $(seq 300); do # its driver may still be on its way
		at=$(grep -l "$3" /sys/class/net/*/address | cut -d / -f 5)
		[ -z "$at" ] || break
		sleep 0.2
	done
	[ -n "$at" ] || {
		echo "iridescent-vm: no NIC with address $3" >&2
		exit 9
	}
	ip link set "$at" netns "$1"
	ip -n "$1" link set "$at" name "$2"
	ip -n "$1" link set "$2" up
}

for space in dut gen; do
	ip netns add "$space"
	ip netns exec "$space" sysctl -q net.ipv6.conf.all.disable_ipv6=1 \
		net.ipv6.conf.default.disable_ipv6=1
	ip -n "$space" link set lo up
done
wire dut dut0 02:1d:00:00:00:01
wire gen gen0 02:1d:00:00:00:02
wire dut dut1 02:1d:00:00:00:11
wire gen gen1 02:1d:00:00:00:12

# e1000e negotiates for a few seconds
for nic in dut/dut0 dut/dut1 gen/gen0 gen/gen1; do
	for _ in $(seq 100); do
		[ "$(ip netns exec "${nic%/*}" cat "/sys/class/net/${nic#*/}/carrier")" = 1 ] && break
		sleep 0.2
	done
done

uname -r >/results/kernel-release
: >"/results/started-$VM_BOOT"
echo "iridescent-vm: boot $VM_BOOT, Linux $(uname -r): $(head -c 200 .vm/command)"
bash .vm/command >"/results/command-boot$VM_BOOT.log" 2>&1 </dev/null
code=$?
dmesg >"/results/dmesg-boot$VM_BOOT.log"
echo "$code" >"/results/exit-code-$VM_BOOT"
echo "iridescent-vm: exit code $code"
[ "$VM_BOOT" -lt 5 ] || rm -f /results/reboot # enough
exit "$code"
