// SPDX-License-Identifier: GPL-2.0-only
//! A device for tests that records what is done to it, and can then show what the disk might hold if the power had failed at any moment. One run
//! of a workload gives all moments, and for each of them as many outcomes as wanted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use super::{Device, MemDevice};

/// Bytes that the disk writes whole or not at all.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Event {
    Write(u64, Vec<u8>),
    Flush,
    Mark(u64),
}

/// Records writes and flushes over a [`MemDevice`].
#[derive(Debug)]
pub struct PowerCutDevice {
    start: MemDevice,
    now: MemDevice,
    events: RefCell<Vec<Event>>,
}

/// A moment at which the power fails.
#[derive(Debug)]
pub struct CutPoint {
    /// Number of writes and flushes that had returned before.
    pub after: usize,
    /// The last [`PowerCutDevice::mark`] before: what the workload had acknowledged.
    pub mark: Option<u64>,
    durable: MemDevice,
    /// For every sector written since the last flush, by byte offset: all contents written, oldest first.
    volatile: BTreeMap<u64, Vec<Vec<u8>>>,
}

impl PowerCutDevice {
    /// Starts recording with the contents of `device`, taken as durable.
    #[must_use]
    pub fn new(device: MemDevice) -> Self {
        Self {
            start: device.clone(),
            now: device,
            events: RefCell::default(),
        }
    }

    /// Notes that the workload has now acknowledged everything up to `what`.
    pub fn mark(&self, what: u64) {
        self.events.borrow_mut().push(Event::Mark(what));
    }

    /// All moments between two accesses, in order, each given to `f`: before the first access, and after each of them.
    pub fn each_cut(&self, mut f: impl FnMut(&CutPoint)) {
        let mut point = CutPoint {
            after: 0,
            mark: None,
            durable: self.start.clone(),
            volatile: BTreeMap::new(),
        };
        f(&point);
        for event in self.events.borrow().iter() {
            match event {
                Event::Mark(what) => {
                    // Not a moment of its own: the acknowledgement may or may not get out before the power fails.
                    point.mark = Some(*what);
                    continue;
                }
                Event::Write(offset, data) => point.write(*offset, data),
                Event::Flush => point.flush(),
            }
            point.after += 1;
            f(&point);
        }
        f(&point);
    }
}

impl CutPoint {
    fn write(&mut self, offset: u64, data: &[u8]) {
        assert!(
            offset % SECTOR as u64 == 0 && data.len() % SECTOR == 0,
            "write of {} bytes at {offset} is not of whole sectors",
            data.len()
        );
        for (i, sector) in data.chunks(SECTOR).enumerate() {
            let at = offset + (i * SECTOR) as u64;
            self.volatile.entry(at).or_default().push(sector.to_vec());
        }
    }

    fn flush(&mut self) {
        for (at, versions) in std::mem::take(&mut self.volatile) {
            if let Some(last) = versions.last() {
                self.apply(&self.durable, at, last);
            }
        }
    }

    fn apply(&self, device: &MemDevice, at: u64, sector: &[u8]) {
        device
            .write_at(at, sector)
            .expect("recorded writes are inside the device");
    }

    /// What the disk may hold. Of every sector written since the last flush it has one of the contents written, or the durable one. `seed` 0 keeps none of
    /// them, 1 keeps all; with the others each write-back of a sector is a matter of chance, with a different chance for each seed.
    #[must_use]
    pub fn outcome(&self, seed: u64) -> MemDevice {
        let device = self.durable.clone();
        let mut random = SplitMix(seed);
        let chance = match seed % 4 {
            0 => u64::MAX / 8,
            1 => u64::MAX / 2,
            2 => u64::MAX / 8 * 7,
            _ => u64::MAX / 64 * 63,
        };
        for (&at, versions) in &self.volatile {
            let chosen = match seed {
                0 => None,
                1 => versions.last(),
                _ if random.next() < chance => {
                    let i = random.next() % versions.len() as u64;
                    versions.get(i as usize)
                }
                _ => None,
            };
            if let Some(sector) = chosen {
                self.apply(&device, at, sector);
            }
        }
        device
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seedable, good enough to choose sectors.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Device for PowerCutDevice {
    fn size(&self) -> u64 {
        self.now.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.now.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.now.write_at(offset, buf)?;
        self.events
            .borrow_mut()
            .push(Event::Write(offset, buf.to_vec()));
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.events.borrow_mut().push(Event::Flush);
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> io::Result<bool> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(device: &MemDevice, n: u64) -> u8 {
        let mut buf = [0; 512];
        device.read_at(n * 512, &mut buf).unwrap();
        assert!(buf.iter().all(|&byte| byte == buf[0]), "torn sector");
        buf[0]
    }

    #[test]
    fn flushed_writes_survive_and_others_may_not() {
        let device = PowerCutDevice::new(MemDevice::new(1 << 20));
        device.write_at(0, &[1; 1024]).unwrap();
        device.flush().unwrap();
        device.mark(1);
        device.write_at(512, &[2; 1024]).unwrap();
        device.write_at(1024, &[3; 512]).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        device.each_cut(|cut| {
            if cut.after < 4 {
                return;
            }
            assert_eq!(cut.mark, Some(1));
            for seed in 0..100 {
                let outcome = cut.outcome(seed);
                assert_eq!(sector(&outcome, 0), 1);
                seen.insert((sector(&outcome, 1), sector(&outcome, 2)));
            }
            assert_eq!(sector(&cut.outcome(0), 2), 0);
            assert_eq!(sector(&cut.outcome(1), 2), 3);
        });
        let all: Vec<_> = [1, 2]
            .iter()
            .flat_map(|&a| [0, 2, 3].map(|b| (a, b)))
            .collect();
        assert!(seen.iter().eq(&all), "{seen:?}");
    }
}
