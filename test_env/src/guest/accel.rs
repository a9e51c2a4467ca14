// SPDX-License-Identifier: GPL-2.0-only
//! How fast guests run here: KVM when the stock kernel really boots with it,
//! software emulation otherwise.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::{Config, Guest, Setup};
use crate::architecture::Architecture;
use crate::{cache, project};

/// How long the probe may take. With KVM the stock kernel is up in a second.
const PROBE: Duration = Duration::from_secs(20);

/// How guest code is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// By the CPU.
    Kvm,
    /// By QEMU.
    Tcg,
}

impl Accel {
    /// Arguments for QEMU.
    pub fn arguments(self, architecture: &Architecture) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", architecture.emulated],
        }
    }

    /// What works here, by a boot that is tried once for each boot of the host.
    ///
    /// # Errors
    /// The cache cannot be used. That KVM does not work is not an error.
    pub fn probe(setup: &Setup) -> Result<Self> {
        if setup.kernel.architecture().is_foreign() {
            return Ok(Self::Tcg);
        }
        match std::env::var("VEXFS_ACCEL").as_deref() {
            Ok("kvm") => return Ok(Self::Kvm),
            Ok("tcg") => return Ok(Self::Tcg),
            _ => {}
        }
        if !Path::new("/dev/kvm").exists() {
            return Ok(Self::Tcg);
        }
        let _lock = cache::lock("accel")?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let key = format!("{} {}", boot.trim(), setup.release);
        let file = project::cache()?.join(format!("accel-{}", setup.release));
        let known = std::fs::read_to_string(&file).unwrap_or_default();
        if let Some(answer) = known.strip_prefix(&key) {
            return Ok(if answer.trim() == "kvm" {
                Self::Kvm
            } else {
                Self::Tcg
            });
        }
        let config = Config {
            boot_timeout: PROBE,
            accel: Some(Self::Kvm),
            ..Config::default()
        };
        let works = Guest::start(setup, config)
            .and_then(|guest| {
                guest.run("true")?;
                guest.shutdown()
            })
            .is_ok();
        eprintln!(
            "{}",
            if works {
                "guests run under KVM"
            } else {
                "the stock kernel does not boot under KVM here: guests are emulated"
            }
        );
        std::fs::write(
            &file,
            format!("{key} {}\n", if works { "kvm" } else { "tcg" }),
        )?;
        Ok(if works { Self::Kvm } else { Self::Tcg })
    }
}
