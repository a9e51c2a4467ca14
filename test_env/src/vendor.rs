// SPDX-License-Identifier: GPL-2.0-only
//! Crates of others that the module brings along to kernels that lack them: their
//! sources, as Cargo.lock pins them, put where Kbuild finds them. They come from where
//! cargo has them, and are never a part of the project.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};
use serde::Deserialize;

use crate::{cache, project, sys, tools};

/// What the module uses; what these use comes with them.
const CRATES: &[&str] = &["zerocopy", "zerocopy-derive"];

/// What `cargo metadata` prints, as far as it is read.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

/// Puts the sources into `build/vendor`, each in a folder of its crate's name; returns that
/// folder.
///
/// # Errors
/// Cargo does not have them and cannot fetch them, or a file cannot be copied.
pub fn prepare() -> Result<PathBuf> {
    let folder = project::build_folder("vendor")?;
    let _lock = cache::lock_file(&project::build()?.join("vendor.lock"))?;
    let text = sys::output(
        Command::new(tools::cargo_program())
            .current_dir(project::root())
            .args(["metadata", "--locked", "--format-version", "1"]),
    )?;
    let metadata: Metadata = serde_json::from_str(&text).context("cargo metadata")?;
    for (name, source) in sources(&metadata, CRATES)? {
        copy(&source, &folder.join(name))?;
    }
    Ok(folder)
}

/// The folders of crates and of all that they depend on, by name.
fn sources(metadata: &Metadata, roots: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = metadata
        .packages
        .iter()
        .filter(|package| roots.contains(&package.name.as_str()))
        .map(|package| package.id.as_str())
        .collect();
    ensure!(
        open.len() == roots.len(),
        "not one version each of {}",
        roots.join(", ")
    );
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let package = metadata.packages.iter().find(|package| package.id == id);
        let package = package.with_context(|| format!("cargo does not know {id}"))?;
        let folder = package.manifest_path.parent().context("no folder")?;
        let other = found.insert(package.name.clone(), folder.to_owned());
        ensure!(other.is_none(), "two versions of {}", package.name);
        if let Some(node) = metadata.resolve.nodes.iter().find(|node| node.id == id) {
            open.extend(node.dependencies.iter().map(String::as_str));
        }
    }
    Ok(found)
}

/// Copies a crate's source and its licences, unless that is what is there.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let stamp = to.join(".source");
    let source = from.display().to_string();
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == source) {
        return Ok(());
    }
    cache::remove(to)?;
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| source.clone())? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == "src" || name == "Cargo.toml" || name.starts_with("LICENSE") {
            sys::run(Command::new("cp").arg("-r").arg(entry.path()).arg(to))?;
        }
    }
    std::fs::write(stamp, source)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{sources, Metadata, Node, Package, Resolve};

    fn metadata(edges: &[(&str, &[&str])]) -> Metadata {
        let id = |name: &str| format!("registry#{name}");
        Metadata {
            packages: edges
                .iter()
                .map(|(name, _)| Package {
                    id: id(name),
                    name: name.trim_end_matches('2').to_owned(),
                    manifest_path: format!("/crates/{name}/Cargo.toml").into(),
                })
                .collect(),
            resolve: Resolve {
                nodes: edges
                    .iter()
                    .map(|(name, to)| Node {
                        id: id(name),
                        dependencies: to.iter().map(|name| id(name)).collect(),
                    })
                    .collect(),
            },
        }
    }

    #[test]
    fn what_a_crate_depends_on_comes_with_it() {
        let edges: &[(&str, &[&str])] =
            &[("a", &["b"]), ("b", &["c"]), ("c", &["b"]), ("d", &["a"])];
        let found = sources(&metadata(edges), &["a"]).expect("found");
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(found["b"].to_str(), Some("/crates/b"));
    }

    #[test]
    fn two_versions_are_refused() {
        let edges: &[(&str, &[&str])] = &[("a", &["b", "b2"]), ("b", &[]), ("b2", &[])];
        assert!(sources(&metadata(edges), &["a"]).is_err());
        assert!(sources(&metadata(edges), &["missing"]).is_err());
    }
}
