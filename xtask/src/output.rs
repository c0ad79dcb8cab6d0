//! Shows the lines of a timeline, from wherever they come, and adds up how the scenarios ended.

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;

use anyhow::Result;
use ffa_test_utils::timeline::{Colours, Entry, Parsed, ParsedSummary, render};

/// Where everything goes that is for people or programs to read.
pub struct Output {
    json: bool,
    colours: Colours,
    /// The whole run so far, and how many scenarios it had.
    total: ParsedSummary,
    scenarios: u32,
    good: bool,
    error: Option<String>,
}

impl Output {
    pub fn new(json: bool) -> Self {
        let colourful = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            json,
            colours: if colourful { Colours::Ansi } else { Colours::None },
            total: ParsedSummary { scenario: "all".into(), ..ParsedSummary::default() },
            scenarios: 0,
            good: true,
            error: None,
        }
    }

    /// Whether output is for programs.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// One line of a hypervisor's output, wherever it runs. What is not of the timeline is shown as it is.
    pub fn line(&mut self, line: &str) {
        match Parsed::from_line(line) {
            Ok(Some(parsed)) => {
                if let Parsed::Summary(summary) = &parsed {
                    self.add(summary);
                }
                self.show(&parsed);
            }
            Ok(None) if self.json => self.print(&format!("{{\"kind\":\"output\",\"text\":{}}}", quote(line))),
            Ok(None) => self.print(line),
            Err(error) => self.error = Some(error.to_string()),
        }
    }

    /// A line that made no sense, once.
    pub fn take_error(&mut self) -> Option<String> {
        self.error.take()
    }

    /// A scenario is over.
    pub fn ended(&mut self, good: bool) {
        self.good &= good;
    }

    fn add(&mut self, summary: &ParsedSummary) {
        self.scenarios += 1;
        let total = &mut self.total;
        total.shares += summary.shares;
        total.reclaimed += summary.reclaimed;
        total.gone += summary.gone;
        total.quarantined += summary.quarantined;
        total.pages_held += summary.pages_held;
        total.zombies += summary.zombies;
        total.smcs += summary.smcs;
        total.violations += summary.violations;
    }

    fn show(&self, parsed: &Parsed) {
        if self.json {
            self.print(&json(parsed));
        } else {
            self.print(&render(parsed, self.colours));
        }
    }

    /// Prints a line.
    pub fn print(&self, line: &str) {
        println!("{line}");
    }

    /// Sums up a run of several scenarios, and says how it ended.
    pub fn end(self) -> Result<ExitCode> {
        if self.scenarios > 1 {
            if !self.json {
                self.print("");
            }
            self.show(&Parsed::Summary(self.total.clone()));
        }
        if !self.good {
            eprintln!("error: not everything ended as it must; see the lines marked with !! above");
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A JSON string.
pub fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn json(parsed: &Parsed) -> String {
    match parsed {
        Parsed::Begin { scenario, preset, title } => format!(
            "{{\"kind\":\"scenario\",\"scenario\":{},\"preset\":{},\"title\":{}}}",
            quote(scenario),
            quote(preset),
            quote(title)
        ),
        Parsed::Entry(entry) => entry_json(entry),
        Parsed::Note { t, text } => format!("{{\"kind\":\"note\",\"t\":{t},\"text\":{}}}", quote(text)),
        Parsed::Wrong { t, text } => format!("{{\"kind\":\"wrong\",\"t\":{t},\"text\":{}}}", quote(text)),
        Parsed::Summary(summary) => {
            let ParsedSummary {
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
                "{{\"kind\":\"summary\",\"scenario\":{},\"shares\":{shares},\"reclaimed\":{reclaimed},\"gone\":{gone},\
                 \"quarantined\":{quarantined},\"pages_held\":{pages_held},\"zombies\":{zombies},\"smcs\":{smcs},\
                 \"violations\":{violations}}}",
                quote(scenario)
            )
        }
    }
}

fn entry_json(entry: &Entry) -> String {
    let Entry { t, by_guest, vm, sp, handle, call, answer, then } = entry;
    let by = if *by_guest { "guest" } else { "us" };
    let mut json = format!("{{\"kind\":\"event\",\"t\":{t},\"by\":\"{by}\"");
    if let Some(vm) = vm {
        json += &format!(",\"vm\":{vm}");
    }
    if let Some(sp) = sp {
        json += &format!(",\"sp\":{sp}");
    }
    // A JSON number may lose bits of it.
    if let Some(handle) = handle {
        json += &format!(",\"handle\":\"{handle:#x}\"");
    }
    for (key, value) in [("call", call), ("answer", answer)] {
        if let Some(value) = value {
            json += &format!(",\"{key}\":{}", quote(value));
        }
    }
    json + &format!(",\"then\":{}}}", quote(then))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_becomes_one_object() {
        let line = "@ffa t=5 by=us vm=a sp=8001 handle=ffffffffffffffc0 call=FFA_RUN then=a \"b\"";
        let parsed = Parsed::from_line(line).unwrap().unwrap();
        assert_eq!(
            json(&parsed),
            r#"{"kind":"event","t":5,"by":"us","vm":10,"sp":32769,"handle":"0xffffffffffffffc0","call":"FFA_RUN","then":"a \"b\""}"#
        );
    }
}
