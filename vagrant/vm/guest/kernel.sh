#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Hook of mmdebstrap, $1 is a system made by base.sh: one kernel with its headers, and no others'
# headers, so that bcc can only compile against the guest's own. VM_SUITE, VM_IMAGE_PACKAGE and
# VM_HEADERS_PACKAGE say which; VM_MIRROR where backports come from.
set -eu
root=$1
in_chroot() {
	chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
		DEBIAN_FRONTEND=noninteractive "$@"
}

target="" # a release has its security updates in another suite: the newest is right
case $VM_SUITE in
*-backports)
	echo "deb $VM_MIRROR $VM_SUITE main" >"$root/etc/apt/sources.list.d/backports.list"
	target="-t $VM_SUITE"
	;;
esac
# an initrd with what finds the disk: it is made and booted in a third of the time
printf 'MODULES=list\nCOMPRESS=lz4\n' >"$root/etc/initramfs-tools/conf.d/iridescent"
printf 'virtio_pci\nvirtio_blk\next4\n' >"$root/etc/initramfs-tools/modules"
in_chroot apt-get -qq update
# shellcheck disable=SC2086 # two words or none
in_chroot apt-get -qq install -y --no-install-recommends $target \
	"$VM_IMAGE_PACKAGE" "$VM_HEADERS_PACKAGE"
release=$(basename "$(ls -d "$root"/lib/modules/*/kernel | sed 's,/kernel$,,')")
for tree in "$root"/usr/src/linux-headers-*-amd64; do
	package=$(basename "$tree")
	[ "$package" = "linux-headers-$release" ] || in_chroot apt-get -qq purge -y "$package"
done
in_chroot apt-get -qq autoremove -y --purge
in_chroot sh -c 'cd /iridescent && rm -rf .venv/kernel-headers &&
	.venv/bin/python -m iridescent_xdp.toolchain.headers'
echo "$release" >"$root/etc/iridescent-kernel"
in_chroot apt-get clean
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/log/apt "$root"/usr/share/doc "$root"/usr/share/man
