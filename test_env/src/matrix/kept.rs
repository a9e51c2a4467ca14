// SPDX-License-Identifier: GPL-2.0-only
//! Results of the smoke test, kept in the cache with what they came from: where nothing has
//! changed, a guest would only say the same again. Nothing but the time is kept, and only of
//! a test in which every step was right.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::guest::Setup;
use crate::suite::smoke::{self, Outcome};
use crate::{cache, sys};

/// The file of an entry that says when its guests ran.
const TIME: &str = "time";

/// What came out of the smoke test, and when.
#[derive(Debug, Default)]
pub struct Tested {
    pub outcome: Outcome,
    /// When its guests ended: `2026-01-31 12:59 UTC`.
    pub time: String,
    /// Whether that was in an earlier run.
    pub kept: bool,
}

/// Runs the smoke test in guests of `setup`, which [`smoke::share`] prepared, or says what came
/// out of it before if `anew` is not set and it was all the same.
///
/// # Errors
/// The inputs cannot be read, or the cache cannot be used.
pub fn smoke(setup: &Setup, anew: bool) -> Result<Tested> {
    let mut inputs = setup.inputs()?;
    // The test itself, and all that starts the guests.
    inputs.push(cache::digest(&std::env::current_exe()?)?);
    let kind = format!("smoke-{}", setup.kernel().release());
    if anew {
        cache::forget(&kind, &inputs)?;
    }
    result(&kind, &inputs, || smoke::run(setup))
}

fn result(kind: &str, inputs: &[String], run: impl FnOnce() -> Outcome) -> Result<Tested> {
    let mut new = None;
    let entry = cache::entry(kind, inputs, |folder| {
        let outcome = run();
        let failure = outcome.failure.clone();
        let time = sys::output(Command::new("date").args(["--utc", "+%F %H:%M UTC"]))?;
        let time = time.trim().to_owned();
        new = Some(Tested {
            outcome,
            time: time.clone(),
            kept: false,
        });
        match failure {
            None => Ok(std::fs::write(folder.join(TIME), time)?),
            Some(failure) => Err(anyhow::Error::msg(failure)),
        }
    });
    match new {
        None => kept(&entry?),
        Some(tested) => {
            if tested.outcome.failure.is_none() {
                entry?;
            }
            Ok(tested)
        }
    }
}

fn kept(entry: &Path) -> Result<Tested> {
    let path = entry.join(TIME);
    let time = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Tested {
        outcome: Outcome {
            booted: true,
            passed: smoke::TOTAL,
            failure: None,
        },
        time,
        kept: true,
    })
}

#[cfg(test)]
mod tests {
    use super::{result, smoke, Outcome};

    #[test]
    fn only_what_was_right_is_kept() {
        let cache = tempfile::tempdir().expect("a folder");
        // No other test of this program looks at the cache.
        std::env::set_var("XDG_CACHE_HOME", cache.path());
        let good = || Outcome {
            booted: true,
            passed: smoke::TOTAL,
            failure: None,
        };
        let bad = || Outcome {
            failure: Some("step files".to_owned()),
            passed: 3,
            ..good()
        };
        let unused = || -> Outcome { panic!("it is kept") };
        let inputs = |text: &str| [text.to_owned()];
        let first = result("smoke-1", &inputs("a"), bad).expect("run");
        assert_eq!((first.outcome, first.kept), (bad(), false));
        let second = result("smoke-1", &inputs("a"), good).expect("run");
        assert_eq!((second.outcome, second.kept), (good(), false));
        let third = result("smoke-1", &inputs("a"), unused).expect("kept");
        assert_eq!((third.outcome, third.kept), (good(), true));
        assert_eq!(third.time, second.time);
        let other = result("smoke-1", &inputs("b"), bad).expect("run");
        assert!(!other.kept);
        let other = result("smoke-2", &inputs("a"), bad).expect("run");
        assert!(!other.kept);
    }
}
