// SPDX-License-Identifier: GPL-2.0-only
//! How much of a kernel stack (16 KiB) the module's own functions take at most: the longest chain of direct calls in its disassembly, each function with
//! what it pushes and reserves. What the kernel's functions add that are called at the ends is not counted, nor are calls through pointers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::Command;

use anyhow::{ensure, Result};

use crate::kernel::Kernel;
use crate::{project, sys};

/// Bytes that the module's functions may take together: three quarters of the stack, the rest is for the VFS above and the block layer below.
pub const LIMIT: u64 = 12 << 10;

/// A function: what it takes itself, and whom it calls.
#[derive(Debug, Default, PartialEq, Eq)]
struct Function {
    frame: u64,
    calls: BTreeSet<String>,
}

/// A chain of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Bytes of all of them.
    pub bytes: u64,
    /// Each function, demangled, with its own bytes.
    pub functions: Vec<(String, u64)>,
}

/// The longest chain that begins at each function which no other one calls, longest first.
///
/// # Errors
/// The module was not built, or binutils fail.
pub fn chains(kernel: &Kernel) -> Result<Vec<Chain>> {
    let module = project::build_folder(&format!("fs/{}", kernel.release()))?.join("vexfs.ko");
    ensure!(
        module.exists(),
        "{} is not there: `make module` first",
        module.display()
    );
    let text = sys::output(
        Command::new("objdump")
            .args(["--disassemble", "--reloc", "--no-show-raw-insn"])
            .arg(&module),
    )?;
    let mut chains = longest(&parse(&text));
    chains.retain(|chain| chain.bytes > 0);
    for (name, _) in chains.iter_mut().take(3).flat_map(|c| &mut c.functions) {
        *name = sys::output(Command::new("c++filt").arg(&*name))?
            .trim()
            .to_owned();
    }
    Ok(chains)
}

/// Reads a disassembly of x86-64.
fn parse(text: &str) -> BTreeMap<String, Function> {
    let mut functions: BTreeMap<String, Function> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once(" <").filter(|_| line.ends_with(">:")) {
            name = rest.trim_end_matches(">:").to_owned();
            // The return address.
            functions.entry(name.clone()).or_default().frame += 8;
            continue;
        }
        let Some(function) = functions.get_mut(&name) else {
            continue;
        };
        if let Some((_, rest)) = line.split_once("R_X86_64_P") {
            let symbol = rest.split_whitespace().last().unwrap_or_default();
            let symbol = symbol.split(['-', '+']).next().unwrap_or_default();
            function.calls.insert(symbol.to_owned());
            continue;
        }
        let Some(instruction) = line.split('\t').nth(1) else {
            continue;
        };
        let mut words = instruction.split_whitespace();
        match (words.next(), words.next()) {
            (Some("push"), _) => function.frame += 8,
            (Some("sub"), Some(operands)) => {
                let bytes = operands
                    .strip_suffix(",%rsp")
                    .and_then(|bytes| bytes.strip_prefix("$0x"))
                    .and_then(|bytes| u64::from_str_radix(bytes, 16).ok());
                function.frame += bytes.unwrap_or(0);
            }
            (Some("call" | "jmp"), Some(_)) => {
                let target = instruction.split_once('<').map(|(_, rest)| rest);
                if let Some(target) = target.and_then(|t| t.strip_suffix('>')) {
                    // With an offset it is a jump inside a function.
                    if !target.contains('+') && target != name {
                        function.calls.insert(target.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    functions
}

/// The longest chains from all functions that nobody calls.
fn longest(functions: &BTreeMap<String, Function>) -> Vec<Chain> {
    let called: BTreeSet<&String> = functions
        .iter()
        .flat_map(|(name, f)| f.calls.iter().filter(move |callee| *callee != name))
        .collect();
    let mut known = HashMap::new();
    let mut chains: Vec<Chain> = functions
        .keys()
        .filter(|name| !called.contains(name))
        .map(|name| {
            let bytes = depth(functions, name, &mut known, &mut Vec::new());
            let mut chain = Vec::new();
            let mut next = Some(name.as_str());
            while let Some(now) = next {
                chain.push((now.to_owned(), functions.get(now).map_or(0, |f| f.frame)));
                next = known.get(now).and_then(|(_, deepest)| *deepest);
            }
            Chain {
                bytes,
                functions: chain,
            }
        })
        .collect();
    chains.sort_by_key(|chain| std::cmp::Reverse(chain.bytes));
    chains
}

/// Bytes by function, and the callee that the longest chain goes on with.
type Known<'f> = HashMap<&'f str, (u64, Option<&'f str>)>;

/// A function that calls itself, over others or not, counts once: the module has no recursion but for what formats its messages.
fn depth<'f>(
    functions: &'f BTreeMap<String, Function>,
    name: &'f str,
    known: &mut Known<'f>,
    above: &mut Vec<&'f str>,
) -> u64 {
    if let Some((bytes, _)) = known.get(name) {
        return *bytes;
    }
    let Some(function) = functions.get(name).filter(|_| !above.contains(&name)) else {
        return 0;
    };
    above.push(name);
    let (mut most, mut deepest) = (0, None);
    for callee in &function.calls {
        let bytes = depth(functions, callee, known, above);
        if bytes > most {
            (most, deepest) = (bytes, Some(callee.as_str()));
        }
    }
    above.pop();
    known.insert(name, (most + function.frame, deepest));
    most + function.frame
}

/// Prints the three longest chains; returns whether all of them are within [`LIMIT`].
///
/// # Errors
/// As [`chains`].
pub fn print(kernel: &Kernel) -> Result<bool> {
    let chains = chains(kernel)?;
    for chain in chains.iter().take(3) {
        println!("{} bytes", chain.bytes);
        for (name, frame) in &chain.functions {
            println!("    {frame:6} {name}");
        }
    }
    let most = chains.first().map_or(0, |chain| chain.bytes);
    println!("{most} bytes of stack at most in the module's own functions, {LIMIT} allowed");
    Ok(most <= LIMIT)
}

#[cfg(test)]
mod tests {
    use super::{longest, parse};

    const TEXT: &str = "
0000000000000000 <top>:
       0:\tpush   %rbp
       1:\tsub    $0x100,%rsp
       8:\tcall   d <top+0xd>
\t\t\t9: R_X86_64_PLT32\tmiddle-0x4
       d:\tjmp    3 <top+0x3>
0000000000000020 <middle>:
      20:\tsub    $0x40,%rsp
      24:\tcall   40 <leaf>
      28:\tcall   20 <middle>
0000000000000040 <leaf>:
      40:\tret
0000000000000050 <small>:
      50:\tcall   40 <leaf>
";

    #[test]
    fn chains_are_added_up() {
        let chains = longest(&parse(TEXT));
        let shown: Vec<_> = chains
            .iter()
            .map(|c| (c.bytes, c.functions.len(), c.functions[0].0.as_str()))
            .collect();
        assert_eq!(
            shown,
            [(8 + 8 + 0x100 + 8 + 0x40 + 8, 3, "top"), (16, 2, "small")]
        );
    }
}
