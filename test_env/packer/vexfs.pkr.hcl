# SPDX-License-Identifier: GPL-2.0-only
# A Debian image becomes one with VexFS: the machine boots from a copy of the
# image, gets the package tree and installs it with its own `make install`, and a
# boot loader; what belongs to this one machine is removed again. `make packer` makes
# the image and the key, and calls this (docs/packer.md).

variable "image" {
  type        = string
  description = "The disk image to start from (raw): a partition for the boot loader, then the root file system, labelled `root`."
}

variable "kernel" {
  type        = string
  description = "The kernel for this boot: the image has no boot loader yet."
}

variable "initrd" {
  type        = string
  description = "Its initial root file system."
}

variable "tree" {
  type        = string
  description = "The package tree (tar): Makefile, and what its install targets install."
}

variable "scripts" {
  type        = string
  description = "The folder of install.sh and seal.sh."
}

variable "key_file" {
  type        = string
  description = "The private half of a key that was made for this build."
}

variable "public_key" {
  type        = string
  description = "The public half. The machine learns it from its firmware, as a credential of systemd's."
}

variable "accelerator" {
  type        = string
  description = "How QEMU executes code: kvm, or tcg."
}

variable "cpu" {
  type        = string
  description = "The processor's model."
}

variable "console" {
  type        = string
  description = "The file that the first serial port writes to."
}

variable "output" {
  type        = string
  description = "The folder of the result, which may not exist."
}

source "qemu" "debian" {
  vm_name          = "vexfs.qcow2"
  output_directory = var.output
  format           = "qcow2"
  disk_compression = true

  disk_image       = true
  iso_url          = var.image
  iso_checksum     = "none"
  skip_resize_disk = true

  accelerator = var.accelerator
  # Several emulated processors can trip over code that the kernel patches.
  cpus               = 1
  memory             = 1024
  headless           = true
  boot_wait          = "1s"
  disk_interface     = "virtio"
  disk_cache         = "unsafe"
  disk_discard       = "unmap"
  disk_detect_zeroes = "unmap"
  net_device         = "virtio-net"

  communicator             = "ssh"
  ssh_username             = "root"
  ssh_private_key_file     = var.key_file
  ssh_timeout              = "15m"
  ssh_file_transfer_method = "sftp"
  shutdown_command         = "systemctl poweroff"
  shutdown_timeout         = "5m"

  qemuargs = [
    ["-cpu", var.cpu],
    ["-kernel", var.kernel],
    ["-initrd", var.initrd],
    # On a busy host an emulated timer may be too late for the kernel's check of it.
    ["-append", "root=LABEL=root ro console=ttyS0 quiet no_timer_check"],
    ["-smbios", "type=11,value=io.systemd.credential:ssh.authorized_keys.root=${var.public_key}"],
    # The host's port is open to this machine alone, and the guest can reach nothing.
    ["-netdev", "user,id=user.0,restrict=on,hostfwd=tcp:127.0.0.1:{{ .SSHHostPort }}-:22"],
    ["-serial", "file:${var.console}"],
  ]
}

build {
  sources = ["source.qemu.debian"]

  provisioner "file" {
    source      = var.tree
    destination = "/var/tmp/vexfs.tar"
  }

  provisioner "shell" {
    scripts = ["${var.scripts}/install.sh", "${var.scripts}/seal.sh"]
  }
}
