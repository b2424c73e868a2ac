#!/usr/bin/env bash
# The first process of a throw-away machine: lays a root over the real one, whose changes are kept in memory, and becomes its
# systemd. To be run in namespaces of its own (mount, pid, cgroup); nothing outside them changes.
#
#   machine.sh FOLDER SHARED
#
#   FOLDER  an empty folder, below which everything is mounted; FOLDER/upper has what the machine changed
#   SHARED  a folder of the real machine that the other one sees under the same name
set -euo pipefail

FOLDER=$1 SHARED=$2
ROOT=$FOLDER/root

# Only what happens below this may be seen here, and nothing of it outside.
mount --make-rprivate /
mount -t tmpfs tmpfs "$FOLDER"
mkdir "$FOLDER/upper" "$FOLDER/work" "$ROOT"
mount -t overlay overlay -o "lowerdir=/,upperdir=$FOLDER/upper,workdir=$FOLDER/work" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount -t sysfs sysfs "$ROOT/sys"
mount -t cgroup2 cgroup2 "$ROOT/sys/fs/cgroup"
mount --rbind /dev "$ROOT/dev"
mount -t tmpfs tmpfs "$ROOT/run"
mount -t tmpfs tmpfs "$ROOT/tmp"
mkdir -p "$ROOT$SHARED"
mount --bind "$SHARED" "$ROOT$SHARED"

# Nothing starts that the real machine has installed.
rm -f "$ROOT"/etc/systemd/system/*.wants/*
for unit in systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-udev-trigger.service \
    systemd-networkd.service systemd-resolved.service systemd-sysctl.service; do
    ln -sf /dev/null "$ROOT/etc/systemd/system/$unit"
done

export container=test
exec chroot "$ROOT" /lib/systemd/systemd --system --unit=basic.target --log-level=warning
