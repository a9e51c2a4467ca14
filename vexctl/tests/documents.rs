// SPDX-License-Identifier: GPL-2.0-only
//! What vexctl writes about itself: manual pages and completions.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

fn vexctl(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vexctl"));
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// Texts of vexctl's pages in a folder, by name.
fn pages(folder: &Path) -> BTreeMap<String, String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| name.starts_with("vexctl"))
        .map(|(name, path)| (name, std::fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn manual_pages_are_those_of_the_project() {
    let folder = tempfile::tempdir().unwrap();
    vexctl(&["man", folder.path().to_str().unwrap()]);
    let made = pages(folder.path());
    let kept = pages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man"));
    assert_eq!(
        made.keys().collect::<Vec<_>>(),
        kept.keys().collect::<Vec<_>>(),
        "write docs/man anew: vexctl man docs/man"
    );
    for (name, page) in &made {
        assert!(kept[name] == *page, "{name} differs: vexctl man docs/man");
    }
    assert_eq!(vexctl(&["man"]), made["vexctl.1"]);
    for said in ["EXIT STATUS", "JSON OUTPUT", "index", "import", "search"] {
        assert!(made["vexctl.1"].contains(said), "{said}");
    }
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = vexctl(&["completions", shell]);
        for word in ["import", "jsonl", "metric"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn help_and_version() {
    assert!(vexctl(&["--version"]).starts_with("vexctl "));
    let help = vexctl(&["--help"]);
    assert!(
        help.contains("--img <FILE>") && help.contains("Exit status"),
        "{help}"
    );
    assert!(vexctl(&["index", "create", "--help"]).contains("octal"));
}
