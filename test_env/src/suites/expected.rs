// SPDX-License-Identifier: GPL-2.0-only
//! The lists of failures that are expected, test_env/suites/*.toml: each names a
//! test and says why. Judges nothing.

use std::collections::BTreeMap;

use anyhow::{ensure, Context, Result};
use serde::Deserialize;

use crate::project;

/// Reasons by test.
#[derive(Debug, Default)]
pub struct Expected(BTreeMap<String, String>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    failure: Vec<Failure>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    test: String,
    reason: String,
}

impl Expected {
    /// The list of a suite for a filesystem. Only for VexFS there are any.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn read(suite: &str, filesystem: &str) -> Result<Self> {
        if filesystem != "vexfs" {
            return Ok(Self::default());
        }
        let path = project::root().join(format!("test_env/suites/{suite}.toml"));
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    /// A list.
    ///
    /// # Errors
    /// It is no such list, a test stands in it twice, or a reason is missing.
    pub fn parse(text: &str) -> Result<Self> {
        let list: List = toml::from_str(text)?;
        let mut reasons = BTreeMap::new();
        for failure in list.failure {
            ensure!(!failure.reason.is_empty(), "{}: no reason", failure.test);
            let known = reasons.insert(failure.test.clone(), failure.reason);
            ensure!(known.is_none(), "{} is listed twice", failure.test);
        }
        Ok(Self(reasons))
    }

    /// Why a test is expected to fail, if it is.
    pub fn reason(&self, test: &str) -> Option<&str> {
        self.0.get(test).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::Expected;

    #[test]
    fn every_list_of_the_project_is_one() {
        for suite in ["xfstests", "pjdfstest", "ltp", "stress"] {
            Expected::read(suite, "vexfs").unwrap();
        }
    }

    #[test]
    fn a_failure_has_one_reason() {
        let entry = "[[failure]]\ntest = \"generic/1\"\nreason = \"so\"\n";
        let list = Expected::parse(entry).unwrap();
        assert_eq!(list.reason("generic/1"), Some("so"));
        assert_eq!(list.reason("generic/2"), None);
        assert!(Expected::parse(&entry.repeat(2)).is_err());
        assert!(Expected::parse("[[failure]]\ntest = \"a\"\nreason = \"\"\n").is_err());
        assert!(Expected::parse("[[failure]]\ntest = \"a\"\n").is_err());
    }
}
