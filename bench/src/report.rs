// SPDX-License-Identifier: GPL-2.0-only
//! What all measurements print alike: the machine, and medians. Measures nothing.

use std::time::Duration;

/// Prints the processor and the number of cores.
pub fn machine() {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{model}, {cores} cores");
}

/// The median of durations divided by `operations`, in nanoseconds. 0 without durations.
pub fn median_ns(times: &mut [Duration], operations: usize) -> f64 {
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    middle.as_nanos() as f64 / operations.max(1) as f64
}
