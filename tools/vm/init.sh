#!/bin/busybox sh
# The first process in the VM of machine.ts: gives the devices to vfio-pci, shows the outside's files, runs the command, ends the VM.
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /outside /scratch /control /root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tracefs tracefs /sys/kernel/tracing
for module in /modules/*.ko; do
  [ -e "$module" ] && insmod "$module"
done

# What a person does to give a device to vfio-pci.
for device in /sys/bus/pci/devices/*; do
  case "$(cat "$device/vendor"):$(cat "$device/device")" in
    0x1234:0x11e8) # edu
      echo vfio-pci > "$device/driver_override"
      basename "$device" > /sys/bus/pci/drivers_probe
      ;;
  esac
done

# The outside's root, under a layer of memory: the command may write anywhere, and none of it lasts.
protocol=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o "$protocol,ro,cache=loose" outside /outside
mount -t 9p -o "$protocol,rw,cache=none" control /control
mount -t tmpfs tmpfs /scratch
mkdir /scratch/upper /scratch/work
mount -t overlay -o lowerdir=/outside,upperdir=/scratch/upper,workdir=/scratch/work overlay /root
for folder in proc sys dev; do
  mkdir -p "/root/$folder"
  mount --rbind "/$folder" "/root/$folder"
done
mkdir -p /root/dev/shm && mount -t tmpfs tmpfs /root/dev/shm

cp /control/command /root/.vm-command
chroot /root /bin/sh /.vm-command < /dev/null > /control/stdout 2> /control/stderr
echo $? > /control/status.part
# Renamed, so that nobody reads half of it.
mv /control/status.part /control/status
poweroff -f
