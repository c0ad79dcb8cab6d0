//! Says what takes long, and how far it is.

use std::io::{IsTerminal, Write, stderr};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What is done sooner is not worth a line.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a person at a terminal hears more; everybody else reads this later, and wants fewer lines.
const INTERVAL_ON_TERMINAL: Duration = Duration::from_millis(200);
const INTERVAL: Duration = Duration::from_secs(20);

/// Something that may take long. It prints nothing if it does not.
pub struct Progress {
    details: Option<Sender<String>>,
    printer: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts to do `what`.
    pub fn start(what: &str) -> Self {
        let (details, receiver) = mpsc::channel::<String>();
        let what = what.to_owned();
        let printer = thread::spawn(move || {
            let start = Instant::now();
            let terminal = stderr().is_terminal();
            let interval = if terminal { INTERVAL_ON_TERMINAL } else { INTERVAL };
            let mut next = start + PATIENCE;
            let mut detail = String::new();
            loop {
                match receiver.recv_timeout(next.saturating_duration_since(Instant::now())) {
                    Ok(newer) => detail = newer,
                    Err(RecvTimeoutError::Timeout) => {
                        print(terminal, &format!("{what}, {} s: {detail}", start.elapsed().as_secs()));
                        next = Instant::now() + interval;
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            if start.elapsed() >= PATIENCE {
                print(terminal, &format!("{what} took {} s", start.elapsed().as_secs()));
                if terminal {
                    eprintln!();
                }
            }
        });
        Self { details: Some(details), printer: Some(printer) }
    }

    /// Says how far it is.
    pub fn at(&self, detail: &str) {
        if let Some(details) = &self.details {
            // The printer ends only after this sender is gone.
            _ = details.send(detail.to_owned());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.details.take());
        if let Some(printer) = self.printer.take() {
            // A printer that panicked has printed why.
            _ = printer.join();
        }
    }
}

fn print(terminal: bool, text: &str) {
    const WIDTH: usize = 79;
    if terminal {
        let text: String = text.chars().take(WIDTH).collect();
        eprint!("\r{text:WIDTH$}");
        _ = stderr().flush();
    } else {
        eprintln!("{text}");
    }
}
