// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask cycles`: imports between the top-level modules of a crate must point in one direction.
//!
//! A module is a file or a folder directly below `src`. Unit tests, `main.rs` and `lib.rs` do not count: they
//! may use everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// Crates whose modules form layers.
const CRATES: [&str; 3] = ["lb-common", "lb-ebpf", "lb-userspace"];

/// A module, and the modules that it imports, each with the files that do so.
type Graph = BTreeMap<String, BTreeMap<String, BTreeSet<PathBuf>>>;

/// Prints every cycle.
///
/// # Errors
/// If there is one, or a file cannot be read.
#[expect(clippy::print_stdout, reason = "it is what the command is for")]
pub fn run() -> Result<()> {
    let mut cycles = 0;
    for name in CRATES {
        let source = workspace::root().join(name).join("src");
        let graph = read(&source)?;
        for cycle in find(&graph) {
            cycles += 1;
            println!("{name}: {} import each other:", cycle.join(", "));
            for from in &cycle {
                for (to, files) in graph[from].iter().filter(|(to, _)| cycle.contains(to)) {
                    let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
                    println!("  {from} imports {to} in {}", files.join(", "));
                }
            }
        }
    }
    if cycles > 0 {
        bail!("{cycles} import cycles: move what several modules need into one that imports none of them");
    }
    println!("no import cycles between the modules of {}", CRATES.join(", "));
    Ok(())
}

/// Reads the imports of a crate.
fn read(source: &Path) -> Result<Graph> {
    let modules: BTreeSet<String> = entries(source)?.iter().filter_map(|path| module(path)).collect();
    let mut graph = Graph::new();
    let mut folders = vec![source.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder)? {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let file = path.strip_prefix(source)?;
            let Some(from) = file.iter().next().and_then(|first| module(Path::new(first))) else { continue };
            let is_test =
                file.iter().any(|part| part.to_string_lossy().trim_end_matches(".rs").ends_with("tests"));
            if is_test || path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            // How many `super` lead out of the module, to the root of the crate.
            let depth =
                file.iter().count() - usize::from(file.file_name().is_some_and(|name| name == "mod.rs"));
            for to in imports(&text, depth).intersection(&modules).filter(|to| **to != from) {
                graph.entry(from.clone()).or_default().entry(to.clone()).or_default().insert(file.to_owned());
            }
        }
    }
    Ok(graph)
}

/// Returns what lies in a folder, in order.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = read.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Returns the name of a top-level module; `None` for the roots of the crate.
fn module(path: &Path) -> Option<String> {
    let name = path.file_stem()?.to_str()?;
    (name != "main" && name != "lib").then(|| name.to_owned())
}

/// Returns the first segments of all paths that begin at the root of the crate, in a file that is `depth`
/// modules below it.
fn imports(text: &str, depth: usize) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code: String = lines.flat_map(|line| [line, " "]).collect();
    let mut found = BTreeSet::new();
    for root in ["crate::".to_owned(), "super::".repeat(depth)] {
        for (at, _) in code.match_indices(&root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            first_segments(&code[at + root.len()..], &mut found);
        }
    }
    found
}

/// Adds the first segment of a path, or of each path in braces.
fn first_segments(path: &str, found: &mut BTreeSet<String>) {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else {
        found.insert(name(path));
        return;
    };
    let (mut depth, mut begins) = (0, true);
    for (at, c) in group.char_indices() {
        match c {
            '}' if depth == 0 => return,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                begins = true;
                continue;
            }
            _ => {}
        }
        if begins && !c.is_whitespace() {
            found.insert(name(&group[at..]));
            begins = false;
        }
    }
}

/// Returns the groups of modules that reach each other.
fn find(graph: &Graph) -> Vec<Vec<String>> {
    let reach = |from: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            for to in graph.get(module).into_iter().flat_map(BTreeMap::keys) {
                if seen.insert(to) {
                    next.push(to);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<_, _> = graph.keys().map(|module| (module, reach(module))).collect();
    let mut cycles: Vec<Vec<String>> = Vec::new();
    for (module, there) in &reached {
        let back = |other: &&String| reached.get(other).is_some_and(|reached| reached.contains(module));
        let cycle: Vec<String> = there.iter().copied().filter(back).cloned().collect();
        if !cycle.is_empty() && !cycles.contains(&cycle) {
            cycles.push(cycle);
        }
    }
    cycles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_import_is_read() {
        let text = "use crate::{api::{client, types}, text::count};\nuse super::super::netlink::Link;\n\
                    fn f() { crate::host::run(); my_crate::not::this() } // crate::comment\n\
                    #[cfg(test)]\nmod tests { use crate::lab; }\n";
        let found: Vec<_> = imports(text, 2).into_iter().collect();
        assert_eq!(found, ["api", "host", "netlink", "text"]);
    }

    #[test]
    fn modules_that_reach_each_other_are_a_cycle() {
        let mut graph = Graph::new();
        for (from, to) in [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")] {
            graph.entry(from.to_owned()).or_default().entry(to.to_owned()).or_default();
        }
        assert_eq!(find(&graph), [["b", "c"]]);
    }

    #[test]
    fn the_imports_of_the_crates_point_in_one_direction() {
        run().unwrap();
    }
}
