//! Every row of the catalogue of requests that must be refused, and every defect found in other mediators, is a test that
//! bears its name. Those about memory run over every secure world, and those about descriptors with every call that sends
//! one.

use std::collections::BTreeMap;
use std::path::Path;

/// Sections about memory: descriptors, receivers and ranges, fragments, handles; and the number of their rows.
const SECTIONS: [(char, u32); 4] = [('D', 36), ('E', 35), ('F', 17), ('R', 16)];

/// Defects about memory.
const OF_MEMORY: [u32; 10] = [1, 3, 17, 19, 26, 27, 29, 30, 33, 34];

/// All others.
const OF_THE_REST: [u32; 14] = [2, 4, 5, 7, 8, 9, 13, 15, 16, 20, 21, 23, 24, 31];

/// What shows that a test runs over every secure world, or every one that serves the call.
const OVER_ALL: [&str; 6] =
    ["every_preset(", "in Preset::ALL", "each(&[", "each_send(", "each_send_at(", "each_send_on("];

/// What shows that it runs with every call that sends memory.
const OVER_ALL_SENDS: [&str; 3] = ["each_send(", "each_send_at(", "each_send_on("];

/// Sections about what these calls have in common.
const OF_ALL_SENDS: [char; 2] = ['D', 'E'];

/// A function of a test file.
struct Item {
    file: String,
    name: String,
    /// From the comment above it to its end.
    text: String,
}

impl Item {
    fn is_test(&self) -> bool {
        self.text.lines().any(|line| line == "#[test]")
    }

    fn is_over_all(&self) -> bool {
        self.is_test() && OVER_ALL.iter().any(|mark| self.text.contains(mark))
    }

    fn is_over_all_sends(&self) -> bool {
        self.is_test() && OVER_ALL_SENDS.iter().any(|mark| self.text.contains(mark))
    }

    /// Whether it names `row` as text ("D01", "F-05", "H-3") or in the name of a function ("d01", "h3").
    fn names(&self, row: &str) -> bool {
        let (section, number) = row.split_at(1);
        let text = if section == "F" || section == "H" { format!("{section}-{number}") } else { row.into() };
        let is_word = |at: usize| {
            let neighbour = |other: Option<char>| other.is_none_or(|other| !other.is_ascii_alphanumeric());
            let (before, after) = (&self.text[..at], &self.text[at + text.len()..]);
            neighbour(before.chars().next_back()) && neighbour(after.chars().next())
        };
        let mut found = self.text.match_indices(&text).map(|(at, _)| at);
        // Plans of faults are numbered as well, as F1 to F25.
        let is_row = section != "F" || self.file.contains("fragment") || self.file.contains("rows");
        found.any(is_word) || is_row && self.name.split('_').any(|word| word == row.to_lowercase())
    }
}

/// Functions of all files below `folder`.
fn items(folder: &Path) -> Vec<Item> {
    let mut items = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the tests are there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            items.extend(self::items(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with(file!()) {
            let text = std::fs::read_to_string(&path).expect("it is text");
            items.extend(items_of(&path.file_name().expect("a file").to_string_lossy(), &text));
        }
    }
    items
}

/// Functions of one file, as rustfmt leaves them: they begin and end at the left margin.
fn items_of(file: &str, text: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let (mut above, mut open): (String, Option<Item>) = (String::new(), None);
    for line in text.lines() {
        let declared = line.trim_start_matches("pub ").strip_prefix("fn ");
        if let Some(item) = &mut open {
            item.text += &format!("{line}\n");
            if line == "}" {
                items.extend(open.take());
            }
        } else if let Some(declared) = declared {
            let name = declared.split(['(', '<']).next().unwrap_or_default().to_string();
            let text = format!("{}{line}\n", std::mem::take(&mut above));
            open = Some(Item { file: file.into(), name, text });
        } else if line.starts_with("//") || line.starts_with("#[") {
            above += &format!("{line}\n");
        } else {
            above.clear();
        }
    }
    items
}

/// The tests over every secure world, or any tests, that name `row`, by themselves or in a function that they call.
fn tests_of<'a>(items: &'a [Item], row: &str, is_test: fn(&Item) -> bool) -> Vec<&'a str> {
    let naming: Vec<_> = items.iter().filter(|item| item.names(row)).collect();
    let calls = |test: &Item, item: &Item| {
        test.name == item.name || test.file == item.file && test.text.contains(&format!("{}(", item.name))
    };
    let tests = items.iter().filter(|test| is_test(test) && naming.iter().any(|item| calls(test, item)));
    tests.map(|test| test.name.as_str()).collect()
}

#[test]
fn every_row_is_a_test_that_bears_its_name() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let ours = items(&tests);
    let mut found = BTreeMap::new();
    for (section, rows) in SECTIONS {
        for row in (1..=rows).map(|number| format!("{section}{number:02}")) {
            let is_test =
                if OF_ALL_SENDS.contains(&section) { Item::is_over_all_sends } else { Item::is_over_all };
            let by = tests_of(&ours, &row, is_test);
            found.insert(row, by);
        }
    }
    for number in OF_MEMORY {
        found.insert(format!("H{number}"), tests_of(&ours, &format!("H{number}"), Item::is_over_all));
    }
    for number in OF_THE_REST {
        found.insert(format!("H{number}"), tests_of(&ours, &format!("H{number}"), Item::is_test));
    }
    for (row, by) in &found {
        println!("{row}: {}", by.join(", "));
    }
    let missing: Vec<_> = found.iter().filter(|(_, by)| by.is_empty()).map(|(row, _)| row).collect();
    assert_eq!(missing, Vec::<&String>::new());
}

/// The search itself finds what is there and nothing else.
#[test]
fn a_row_that_is_not_tested_is_noticed() {
    let text = "/// D03: of one secure world.\n#[test]\nfn one() {\n    World::new();\n}\n\n\
        fn rows() {\n    (\"D01\", \"D022\")\n}\n\n\
        #[test]\nfn d04_all() {\n    every_preset(|_| rows());\n}\n";
    let items = items_of("file.rs", text);
    for (row, by) in [
        ("D01", vec!["d04_all"]),
        ("D02", vec![]),
        ("D03", vec![]),
        ("D04", vec!["d04_all"]),
        ("D22", vec![]),
    ] {
        assert_eq!(tests_of(&items, row, Item::is_over_all), by, "{row}");
    }
    assert_eq!(tests_of(&items, "D03", Item::is_test), ["one"]);
}
