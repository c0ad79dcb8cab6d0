use std::format;
use std::string::String;

use super::parse::{Entry, Parsed};

/// Whether to use colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Colours {
    /// For a terminal.
    Ansi,
    /// For a pipe or a file.
    None,
}

/// Select graphic rendition, by its number.
#[derive(Clone, Copy)]
enum Style {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Colours {
    fn paint(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Plain => return text.into(),
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Red => "1;31",
            Style::Green => "32",
            Style::Yellow => "33",
            Style::Cyan => "36",
        };
        match self {
            Self::Ansi => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::None => text.into(),
        }
    }
}

/// One line of a timeline for a person, in aligned columns: time in seconds, VM, SP or handle, call, answer, and what
/// was decided. A scenario begins with a title and a line of headings.
#[must_use]
pub fn render(line: &Parsed, colours: Colours) -> String {
    match line {
        Parsed::Begin { scenario, preset, title } => {
            let headings = columns("time", "VM", "SP/handle", "call", "answer", "decision");
            let title = colours.paint(Style::Bold, &format!("{scenario}: {title}"));
            format!("\n{title} (secure world: {preset})\n{}", colours.paint(Style::Dim, &headings))
        }
        Parsed::Note { t, text } => {
            format!("{} {}", time(*t), colours.paint(Style::Cyan, &format!("-- {text}")))
        }
        Parsed::Wrong { t, text } => {
            format!("{} {}", time(*t), colours.paint(Style::Red, &format!("!! {text}")))
        }
        Parsed::Entry(entry) => colours.paint(style(entry), &entry_line(entry)),
        Parsed::Summary(summary) => {
            let super::ParsedSummary {
                scenario,
                shares,
                reclaimed,
                gone,
                quarantined,
                pages_held,
                zombies,
                smcs,
                violations,
            } = summary;
            format!(
                "summary scenario={scenario} shares={shares} reclaimed={reclaimed} gone={gone} quarantined={quarantined} \
                 pages_held={pages_held} zombies={zombies} smcs={smcs} violations={violations}"
            )
        }
    }
}

fn entry_line(entry: &Entry) -> String {
    let vm = entry.vm.map(|vm| format!("{vm}")).unwrap_or_default();
    let whom = match (entry.sp, entry.handle) {
        (Some(sp), _) => format!("SP {sp:04x}"),
        (None, Some(handle)) => format!("{handle:#x}"),
        (None, None) => String::new(),
    };
    let call = entry.call.as_deref().unwrap_or_default();
    let call = if entry.by_guest { format!("< {call}") } else { call.into() };
    columns(&time(entry.t), &vm, &whom, &call, entry.answer.as_deref().unwrap_or_default(), &entry.then)
}

fn columns(time: &str, vm: &str, whom: &str, call: &str, answer: &str, then: &str) -> String {
    let line = format!("{time:>12} {vm:>4}  {whom:<15} {call:<32} {answer:<18} {then}");
    line.trim_end().into()
}

/// Seconds with microseconds.
fn time(nanos: u64) -> String {
    format!("{:>5}.{:06}", nanos / 1_000_000_000, nanos % 1_000_000_000 / 1000)
}

fn style(entry: &Entry) -> Style {
    let then = entry.then.as_str();
    if then.contains("quarantined")
        || then.contains("given up")
        || then.contains("zombie")
        || then.contains("kept")
    {
        Style::Red
    } else if then.contains("again at") || then.contains("failed") || then.contains("not created") {
        Style::Yellow
    } else if then.contains(" back") || then.contains("gone") {
        Style::Green
    } else if entry.by_guest {
        Style::Dim
    } else {
        Style::Plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_with_and_without_colours() {
        let decision = columns("", "", "", "", "", "decision").find("decision").unwrap();
        for call in ["VM_DESTROYED", "FFA_NOTIFICATION_BITMAP_DESTROY"] {
            let line =
                format!("@ffa t=3000250000 by=us vm=2 sp=8001 call={call} answer=RETRY then=again at 3.01 s");
            let parsed = Parsed::from_line(&line).unwrap().unwrap();
            let plain = render(&parsed, Colours::None);
            assert_eq!(plain.find("again at"), Some(decision), "{plain}");
            assert_eq!(render(&parsed, Colours::Ansi), format!("\x1b[33m{plain}\x1b[0m"));
            assert!(plain.contains("3.000250") && plain.contains("SP 8001"));
        }
    }
}
