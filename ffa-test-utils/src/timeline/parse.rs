use std::string::{String, ToString};

use super::MARK;

/// A line of output, read back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Parsed {
    /// A scenario begins.
    Begin {
        /// Its name.
        scenario: String,
        /// The secure world's.
        preset: String,
        /// What happens.
        title: String,
    },
    /// Something happened.
    Entry(Entry),
    /// Somebody did something.
    Note {
        /// Nanoseconds.
        t: u64,
        /// What.
        text: String,
    },
    /// Something was not as it must be.
    Wrong {
        /// Nanoseconds.
        t: u64,
        /// What.
        text: String,
    },
    /// A scenario ended.
    Summary(ParsedSummary),
}

/// One event of the mediator.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Entry {
    /// Nanoseconds.
    pub t: u64,
    /// A guest called, or else the mediator did something.
    pub by_guest: bool,
    /// The VM.
    pub vm: Option<u16>,
    /// The partition.
    pub sp: Option<u16>,
    /// The share.
    pub handle: Option<u64>,
    /// The call.
    pub call: Option<String>,
    /// Its answer.
    pub answer: Option<String>,
    /// What was decided.
    pub then: String,
}

/// [`Summary`](super::Summary), read back.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[allow(missing_docs)] // As in `Summary`.
pub struct ParsedSummary {
    pub scenario: String,
    pub shares: u64,
    pub reclaimed: u64,
    pub gone: u64,
    pub quarantined: u64,
    pub pages_held: u64,
    pub zombies: u64,
    pub smcs: u64,
    pub violations: u64,
}

impl ParsedSummary {
    /// Whether something was shared, all of it was reclaimed, and there is nothing else to tell.
    #[must_use]
    pub fn all_came_back(&self) -> bool {
        let Self { ref scenario, shares, smcs, .. } = *self;
        let good = Self { scenario: scenario.clone(), shares, reclaimed: shares, smcs, ..Self::default() };
        shares > 0 && *self == good
    }
}

/// A line that claims to be one of ours, and is not.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("field {field:?} of a timeline line is missing or makes no sense: {line}")]
pub struct ParseError {
    /// The field.
    pub field: String,
    /// The line.
    pub line: String,
}

impl Parsed {
    /// Reads a line; `None` if it is not one of the timeline.
    ///
    /// # Errors
    /// [`ParseError`] if it is, and is broken.
    pub fn from_line(line: &str) -> Result<Option<Self>, ParseError> {
        let line = line.trim_end();
        if let Some(fields) = line.strip_prefix("summary ") {
            return Fields { line, fields }.summary().map(|summary| Some(Self::Summary(summary)));
        }
        let Some(fields) = line.strip_prefix(MARK) else { return Ok(None) };
        let fields = Fields { line, fields };
        Ok(Some(if let Some(scenario) = fields.get("scenario") {
            let scenario = scenario.to_string();
            Self::Begin { scenario, preset: fields.text("preset")?, title: fields.text("title")? }
        } else if let Some(text) = fields.get("note") {
            Self::Note { t: fields.decimal("t")?, text: text.to_string() }
        } else if let Some(text) = fields.get("wrong") {
            Self::Wrong { t: fields.decimal("t")?, text: text.to_string() }
        } else {
            Self::Entry(fields.entry()?)
        }))
    }
}

struct Fields<'a> {
    line: &'a str,
    fields: &'a str,
}

impl<'a> Fields<'a> {
    fn error(&self, field: &str) -> ParseError {
        ParseError { field: field.to_string(), line: self.line.to_string() }
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        let mut rest = self.fields;
        while let Some((found, value)) = rest.split_once('=') {
            if matches!(found, "then" | "note" | "wrong" | "title") {
                return (found == key).then_some(value);
            }
            let (value, after) = value.split_once(' ').unwrap_or((value, ""));
            if found == key {
                return Some(value);
            }
            rest = after;
        }
        None
    }

    fn text(&self, key: &str) -> Result<String, ParseError> {
        self.get(key).map(str::to_string).ok_or_else(|| self.error(key))
    }

    fn decimal(&self, key: &str) -> Result<u64, ParseError> {
        self.get(key).and_then(|value| value.parse().ok()).ok_or_else(|| self.error(key))
    }

    fn hexadecimal(&self, key: &str) -> Result<Option<u64>, ParseError> {
        let read = |value| u64::from_str_radix(value, 16).map_err(|_| self.error(key));
        self.get(key).map(read).transpose()
    }

    fn id(&self, key: &str) -> Result<Option<u16>, ParseError> {
        let narrow = |value| u16::try_from(value).map_err(|_| self.error(key));
        self.hexadecimal(key)?.map(narrow).transpose()
    }

    fn entry(&self) -> Result<Entry, ParseError> {
        Ok(Entry {
            t: self.decimal("t")?,
            by_guest: match self.get("by") {
                Some("guest") => true,
                Some("us") => false,
                _ => return Err(self.error("by")),
            },
            vm: self.id("vm")?,
            sp: self.id("sp")?,
            handle: self.hexadecimal("handle")?,
            call: self.get("call").map(str::to_string),
            answer: self.get("answer").map(str::to_string),
            then: self.text("then")?,
        })
    }

    fn summary(&self) -> Result<ParsedSummary, ParseError> {
        Ok(ParsedSummary {
            scenario: self.text("scenario")?,
            shares: self.decimal("shares")?,
            reclaimed: self.decimal("reclaimed")?,
            gone: self.decimal("gone")?,
            quarantined: self.decimal("quarantined")?,
            pages_held: self.decimal("pages_held")?,
            zombies: self.decimal("zombies")?,
            smcs: self.decimal("smcs")?,
            violations: self.decimal("violations")?,
        })
    }
}
