#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Runs at every boot of the guest: gets the results folder of the host, at the first boot the work tree
# too, then runs what the tree says. Whatever happens, the machine is switched off afterwards.
trap 'sync; systemctl poweroff --force --force' EXIT

for _ in 1 2 3 4 5; do
	mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 results /results && break
	sleep 1
done
mountpoint -q /results || exit
if [ ! -e /var/lib/iridescent-vm.boots ]; then
	echo "iridescent-vm: unpacking the work tree"
	find /iridescent -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -rf {} +
	tar -C /iridescent -xf /dev/disk/by-id/virtio-tree || exit
	echo 0 >/var/lib/iridescent-vm.boots
fi
boot=$(($(cat /var/lib/iridescent-vm.boots) + 1))
echo "$boot" >/var/lib/iridescent-vm.boots
if VM_BOOT=$boot /iridescent/vagrant/vm/guest/run.sh && [ -e /results/reboot ]; then
	mv /results/reboot "/results/rebooted-$boot"
	trap - EXIT
	systemctl reboot
fi
