// SPDX-License-Identifier: GPL-2.0-only
//! `index optimize`: what a graph finds, what the other commands make of it, and which indexes can have none.

mod common;

use common::{hits, Fixture, Numbers};
use serde_json::Value;

const ROWS: usize = 2_000;
const DIM: usize = 16;
/// Records that a graph lists beside its nodes.
const LISTED: usize = 496;

fn graph(fs: &Fixture) -> Value {
    fs.json(&["index", "info", "/", "i"])["index"]["graph"].clone()
}

/// The part of the exact answers that a search with these words finds.
fn recall(fs: &Fixture, asked: &str, how: &[&str]) -> f64 {
    let ask = |how: &[&str]| {
        let mut words = vec!["search", "/", "i", "--npy", asked, "-k", "10"];
        words.extend(how);
        hits(&fs.json(&words))
    };
    let (right, found) = (ask(&["--exact"]), ask(how));
    let same: usize = right
        .iter()
        .zip(&found)
        .map(|(right, found)| {
            assert_eq!(found.len(), 10);
            found.iter().filter(|hit| right.contains(hit)).count()
        })
        .sum();
    same as f64 / (10 * right.len()) as f64
}

#[test]
fn an_index_is_optimised_and_changed() {
    let fs = Fixture::new(&["x", "y"]);
    let mut numbers = Numbers(17);
    let base = fs.npy("base.npy", &numbers.rows(ROWS, DIM));
    let more = fs.npy("more.npy", &numbers.rows(LISTED, DIM));
    let one = fs.npy("one.npy", &numbers.rows(1, DIM));
    let asked = fs.npy("queries.npy", &numbers.rows(30, DIM));
    let asked = asked.to_str().unwrap();
    fs.index("i", DIM, "l2");
    fs.refused(1, &["index", "optimize", "/", "i"]);
    fs.text(&words!["import", "/", "i", "--npy", &base, "--file", "/x"]);
    assert!(graph(&fs).is_null());

    let made = fs.json(&["index", "optimize", "/", "i"]);
    assert_eq!(made["index"]["graph"], graph(&fs));
    assert_eq!(
        (&graph(&fs)["state"], &graph(&fs)["nodes"]),
        (&"in use".into(), &ROWS.into())
    );
    let text = fs.text(&["index", "info", "/", "i"]);
    assert!(text.contains("graph     in use"), "{text}");
    let narrow = recall(&fs, asked, &["--beam", "10"]);
    let wide = recall(&fs, asked, &["--beam", "400"]);
    let usual = recall(&fs, asked, &[]);
    println!("recall with a beam of 10 {narrow:.3}, of 400 {wide:.3}, as usual {usual:.3}");
    assert!(narrow < wide && wide >= 0.99 && usual >= 0.9);

    // Nothing of deleted and replaced records is left when the command is done.
    fs.text(&["del", "/x", "i", "--label", "7"]);
    fs.text(&words!["put", "/x", "i", "--npy", &one, "--label", "8"]);
    let now = graph(&fs);
    assert_eq!(
        (&now["state"], &now["nodes"], &now["fresh"], &now["gone"]),
        (&"in use".into(), &(ROWS - 2).into(), &1.into(), &0.into())
    );
    assert!(recall(&fs, asked, &[]) >= 0.9);
    fs.json(&["index", "verify", "/", "i"]);

    // The tree is another thing.
    fs.text(&["index", "rebuild", "/", "i"]);
    assert_eq!(graph(&fs), now);
    assert!(recall(&fs, asked, &[]) >= 0.9);

    // One record too many.
    fs.text(&words!["import", "/", "i", "--npy", &more, "--file", "/y"]);
    assert!(graph(&fs).is_null());
    assert!(recall(&fs, asked, &[]) >= 0.9);
    fs.text(&["index", "optimize", "/", "i"]);
    assert_eq!(graph(&fs)["nodes"], ROWS - 1 + LISTED);
    fs.text(&["index", "drop", "/", "i"]);
}

#[test]
fn an_index_by_inner_products_is_refused() {
    let fs = Fixture::new(&["x"]);
    let base = fs.npy("base.npy", &Numbers(3).rows(20, 4));
    fs.index("i", 4, "dot");
    fs.text(&words!["import", "/", "i", "--npy", &base, "--file", "/x"]);
    let error = fs.refused(1, &["index", "optimize", "/", "i"]);
    assert!(error.contains("inner products"), "{error}");
    assert!(graph(&fs).is_null());
}
