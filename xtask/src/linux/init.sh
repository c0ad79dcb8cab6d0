#!/bin/busybox sh
# The first program of a guest: loads the drivers, says what they found, and shares memory with the trusted OS.
# The kernel argument "ending" says how it ends: "killed" waits for that with memory shared, "careless" turns the guest off with
# memory shared, "never" shares memory again and again; without it everything is taken back and the guest turned off. The kernel
# argument "pages" says how much memory that is.

export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
echo "init: Linux $(uname -r)"

for module in /lib/*; do
    insmod "$module"
done
dmesg | grep -i -e 'ARM FF-A' -e optee | while read -r line; do
    echo "dmesg: $line"
done
for device in /sys/bus/arm_ffa/devices/*; do
    if [ -e "$device/partition_id" ]; then
        echo "init: partition $(cat "$device/partition_id" "$device/uuid" | tr '\n' ':' | sed 's/:$//')"
    fi
done

# Shares memory with the client going on, and prints what that says then.
hold() {
    mkfifo /said
    client hold "$pages" >/said &
    read -r line </said
    echo "$line"
}

client use 1
case "$ending" in
killed)
    hold
    # Long enough for others to boot and share as well.
    sleep 2
    echo "init: this guest is ready to be killed"
    wait
    ;;
careless) hold ;;
never) client loop "$pages" ;;
*) client use "${pages:-1}" ;;
esac
poweroff -f
