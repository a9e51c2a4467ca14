#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# In the machine that becomes the image, as the last thing: removes what belongs to
# this machine alone, so that every machine made from the image gets its own. The
# connection that runs this stays up without the key.
set -eu

rm -rf /root/.ssh
rm -f /etc/ssh/ssh_host_*
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id

# It would save a seed at shutdown.
systemctl stop systemd-random-seed.service
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret

systemctl stop systemd-journald.socket systemd-journald-dev-log.socket systemd-journald.service
rm -rf /var/log/journal/* /run/log/journal/*
find /var/log -type f -delete
rm -f /var/lib/systemd/network/*
fstrim /
sync
