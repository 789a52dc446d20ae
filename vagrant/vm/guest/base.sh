#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Hook of mmdebstrap, $1 is the new system: the work tree, everything that provision.sh installs, and
# the unit that runs what a guest is booted for. VM_TREE is the packed tree, VM_WHEELS a folder of
# wheels: pip gets nothing from anywhere else, and nothing of this machine's configuration stays inside.
set -eu
root=$1
here=$(dirname "$0")

mkdir -p "$root/iridescent" "$root/wheels" "$root/results"
tar -C "$root/iridescent" -xf "$VM_TREE"
cp "$VM_WHEELS"/*.whl "$root/wheels/"
chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
	PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels PIP_NO_CACHE_DIR=1 \
	/iridescent/vagrant/provision.sh /iridescent || {
	sed 's/^/setup.log: /' "$root/iridescent/build/setup.log" # it goes with the rest
	exit 1
}
rm -rf "$root/wheels"

install -m 755 "$here/start.sh" "$root/usr/local/sbin/iridescent-vm"
install -m 644 "$here/iridescent-vm.service" "$root/etc/systemd/system/"
chroot "$root" systemctl -q enable iridescent-vm.service
# no log-in, no network of its own, nothing that wakes up during a measurement
chroot "$root" systemctl -q mask getty@tty1.service serial-getty@ttyS0.service \
	systemd-networkd.service systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer \
	dpkg-db-backup.timer e2scrub_all.timer fstrim.timer systemd-networkd-wait-online.service
echo iridescent >"$root/etc/hostname"
printf '/dev/vda / ext4 defaults,noatime 0 0\n' >"$root/etc/fstab"
: >"$root/etc/machine-id"
