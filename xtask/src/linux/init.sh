#!/bin/busybox sh
# The first program of a guest: loads the FF-A driver, says what it found, and turns the guest off.

export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
echo "init: Linux $(uname -r)"

for module in /lib/*; do
    insmod "$module" || echo "init: $module cannot be loaded"
done
for device in /sys/bus/arm_ffa/devices/*; do
    if [ -e "$device" ]; then
        echo "init: partition $(sed -n 's/^MODALIAS=arm_ffa://p' "$device/uevent")"
    fi
done

poweroff -f
