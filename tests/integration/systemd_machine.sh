#!/usr/bin/env bash
# Boot the real systemd as PID 1 of namespaces of its own: systemd_machine.sh CGROUP FOLDER
# Its root is an overlay that is thrown away, /proc/sys and /sys are read-only, it sees no device and finds no unit but those in FOLDER/units:
# nothing of this machine can be set by it. It ends with whoever started this script.
set -euo pipefail

if [ "${3-}" != inside ]; then
  echo $$ >"$1/cgroup.procs"
  export container=lab SYSTEMD_UNIT_PATH=/run/machine/units:/run/systemd/transient
  exec setpriv --pdeathsig KILL unshare --cgroup --mount --pid --fork --kill-child --net --uts --ipc "$0" "$1" "$2" inside
fi

mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
root=/mnt/root
mkdir /mnt/upper /mnt/work /mnt/machine "$root"
mount --bind "$2" /mnt/machine
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work "$root"
mount -t proc proc "$root/proc"
for name in sys sysrq-trigger irq bus fs; do
  [ -e "$root/proc/$name" ] || continue
  mount --bind "$root/proc/$name" "$root/proc/$name"
  mount -o remount,bind,ro "$root/proc/$name"
done
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for name in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs "$root/$name"; done
chmod 1777 "$root/tmp"
for name in null zero full random urandom tty console; do
  touch "$root/dev/$name"
  source=/dev/$name
  [ "$name" != console ] || source=/dev/null
  mount --bind "$source" "$root/dev/$name"
done
mkdir "$root/dev/pts" "$root/dev/shm" "$root/run/sshd" "$root/run/machine"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount --bind /mnt/machine "$root/run/machine"
mkdir -p "$root/run/systemd/logind.conf.d"
ln -s /run/machine/logind.conf "$root/run/systemd/logind.conf.d/"
hostname machine
ip link set lo up

cd "$root"
pivot_root . mnt
umount -l /mnt
exec setpriv --bounding-set -sys_module,-sys_time,-sys_rawio,-syslog /usr/lib/systemd/systemd --system --unit=machine.target
