use std::{collections::HashSet, fs, path::Path};

fn collect(folder: &Path, names: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            let functions = source.split("fn ").skip(1);
            let name = |rest: &str| rest.split('(').next().unwrap_or_default().to_owned();
            names.extend(functions.map(name));
        }
    }
}

#[test]
fn every_test_that_is_named_exists_and_every_test_of_a_section_is_named() {
    let mut existing = HashSet::new();
    collect(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut existing,
    );
    let table = include_str!("../../RFC.md");
    let named: HashSet<_> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .flat_map(|line| line.split('|').skip(3))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        // Files stand in the table, too.
        .filter(|name| !name.contains(['.', '/']))
        .map(str::to_owned)
        .collect();
    assert!(named.len() > 60, "{}", named.len());
    let missing: Vec<_> = named.difference(&existing).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let of_a_section = |name: &&String| {
        let section = name.strip_prefix("rfc6763_").unwrap_or(name);
        let digit = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
        section.strip_prefix('s').is_some_and(digit)
    };
    let unnamed: Vec<_> = existing.difference(&named).filter(of_a_section).collect();
    assert!(unnamed.is_empty(), "{unnamed:?}");
}
