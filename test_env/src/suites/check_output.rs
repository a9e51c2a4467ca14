// SPDX-License-Identifier: GPL-2.0-only
//! Reads what xfstests' `check` prints, as it comes: which test runs, and how each
//! one went. Starts nothing.

use super::outcome::{Ended, Outcome};

/// What has come so far.
#[derive(Default)]
pub struct CheckOutput {
    /// The line that is not complete.
    pending: Vec<u8>,
    /// The test whose lines are coming: it ends where the next one begins.
    current: Option<Test>,
    ended: Vec<Ended>,
    /// What stood outside of any test.
    other: String,
}

struct Test {
    name: String,
    /// What follows the name on its line, and further lines.
    text: String,
}

impl CheckOutput {
    /// Takes in a piece of output.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            self.line(String::from_utf8_lossy(&line).trim_end());
        }
    }

    /// Tests that have ended since the last call.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// There is no more output. Returns the test that was running, if any.
    pub fn finish(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.pending);
        let rest = String::from_utf8_lossy(&rest).into_owned();
        self.end_current();
        split_name(&rest).map(|(name, _)| name.to_owned())
    }

    /// What `check` had to say beside results.
    pub fn other(&self) -> &str {
        &self.other
    }

    fn line(&mut self, line: &str) {
        if let Some((name, rest)) = split_name(line) {
            self.end_current();
            self.current = Some(Test {
                name: name.to_owned(),
                text: rest.trim().to_owned(),
            });
        } else if is_summary(line) {
            self.end_current();
        } else if let Some(test) = &mut self.current {
            if !line.trim().is_empty() {
                test.text.push('\n');
                test.text.push_str(line);
            }
        } else {
            self.other.push_str(line);
            self.other.push('\n');
        }
    }

    fn end_current(&mut self) {
        if let Some(test) = self.current.take() {
            self.ended.push(judge(test));
        }
    }
}

/// The tests that `check -n` lists, without those it excludes.
pub fn listed(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(split_name)
        .filter(|(_, rest)| rest.trim().is_empty())
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// A line that begins with a test's name, cut behind the name.
fn split_name(line: &str) -> Option<(&str, &str)> {
    let end = line.find(char::is_whitespace).unwrap_or(line.len());
    let (name, rest) = line.split_at_checked(end)?;
    let (group, number) = name.split_once('/')?;
    let is_name = !group.is_empty()
        && group
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && number.len() >= 3
        && number.bytes().all(|b| b.is_ascii_digit());
    is_name.then_some((name, rest))
}

/// The lines that follow the last test.
fn is_summary(line: &str) -> bool {
    ["Ran: ", "Not run: ", "Failures: ", "Failed ", "Passed all "]
        .iter()
        .any(|head| line.starts_with(head))
}

fn judge(test: Test) -> Ended {
    let Test { name, text } = test;
    // The time that it took last, when it is known.
    let text = match text.split_once("s ... ") {
        Some((number, rest)) if number.bytes().all(|b| b.is_ascii_digit()) => rest.trim(),
        _ => text.as_str(),
    };
    let seconds = text
        .strip_suffix('s')
        .and_then(|number| number.parse().ok());
    let outcome = if seconds.is_some() {
        Outcome::Passed
    } else if let Some(why) = text.strip_prefix("[not run]") {
        Outcome::NotRun(why.trim().to_owned())
    } else if text.starts_with("[expunged]") {
        Outcome::NotRun("excluded".to_owned())
    } else {
        Outcome::Failed(text.to_owned())
    };
    Ended {
        name,
        outcome,
        seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::CheckOutput;
    use crate::suites::outcome::Outcome;

    const OUTPUT: &str = "\
FSTYP         -- vexfs
PLATFORM      -- Linux/x86_64 guest 7.3.4

generic/001        4s
generic/002  1s ...  2s
generic/003        [not run] atime related mount options have no effect on vexfs
generic/004        [failed, exit status 1]- output mismatch (see /var/results/generic/004.out.bad)
    --- tests/generic/004.out
    +++ /var/results/generic/004.out.bad
    @@ -1,2 +1,3 @@
     QA output created by 004

generic/005        _check_dmesg: something found in dmesg (see /var/results/generic/005.dmesg)

generic/006        [expunged]
generic/1234       7s
Ran: generic/001 generic/002
Failures: generic/004
Failed 1 of 7 tests
";

    #[test]
    fn every_kind_of_result_is_read() {
        let mut output = CheckOutput::default();
        for piece in OUTPUT.as_bytes().chunks(7) {
            output.push(piece);
        }
        assert_eq!(output.finish(), None);
        let ended = output.take_ended();
        let found: Vec<(&str, Option<u64>)> = ended
            .iter()
            .map(|test| (test.name.as_str(), test.seconds))
            .collect();
        assert_eq!(
            found,
            [
                ("generic/001", Some(4)),
                ("generic/002", Some(2)),
                ("generic/003", None),
                ("generic/004", None),
                ("generic/005", None),
                ("generic/006", None),
                ("generic/1234", Some(7)),
            ]
        );
        let outcomes: Vec<&Outcome> = ended.iter().map(|test| &test.outcome).collect();
        assert_eq!(outcomes[0], &Outcome::Passed);
        assert_eq!(outcomes[1], &Outcome::Passed);
        assert!(matches!(outcomes[2], Outcome::NotRun(why) if why.starts_with("atime")));
        assert!(
            matches!(outcomes[3], Outcome::Failed(why) if why.contains("exit status 1")
            && why.contains("QA output") && !why.contains("Ran:"))
        );
        assert!(matches!(outcomes[4], Outcome::Failed(why) if why.contains("dmesg")));
        assert_eq!(outcomes[5], &Outcome::NotRun("excluded".into()));
        assert_eq!(outcomes[6], &Outcome::Passed);
        assert!(output.other().starts_with("FSTYP"));
    }

    #[test]
    fn a_test_that_never_ended_is_named() {
        let mut output = CheckOutput::default();
        output.push(b"generic/001        4s\ngeneric/002  1s ... ");
        assert_eq!(output.take_ended().len(), 0, "it may say more");
        assert_eq!(output.finish().as_deref(), Some("generic/002"));
        assert_eq!(output.take_ended().len(), 1);
    }

    #[test]
    fn a_list_is_read() {
        let text = "FSTYP  -- vexfs\n\ngeneric/001\ngeneric/002        [expunged]\ngeneric/003    \nNot run: generic/001\n";
        assert_eq!(super::listed(text), ["generic/001", "generic/003"]);
    }

    #[test]
    fn a_path_in_a_message_is_no_test() {
        let mut output = CheckOutput::default();
        output.push(b"generic/010        - output mismatch\nsrc/abc 1\ngeneric/x 2\n");
        output.finish();
        assert_eq!(output.take_ended().len(), 1);
    }
}
