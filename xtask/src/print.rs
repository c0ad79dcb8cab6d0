//! `println!` and `eprintln!` for a reader who may go away, as `head` does: those of `std` panic then. Here what nobody reads is
//! dropped, the command goes on, and its exit status is right.

macro_rules! println {
    ($($argument:tt)*) => {{
        use std::io::Write;
        _ = writeln!(std::io::stdout(), $($argument)*);
    }};
}

macro_rules! print {
    ($($argument:tt)*) => {{
        use std::io::Write;
        _ = write!(std::io::stdout(), $($argument)*);
    }};
}

macro_rules! eprintln {
    ($($argument:tt)*) => {{
        use std::io::Write;
        _ = writeln!(std::io::stderr(), $($argument)*);
    }};
}

macro_rules! eprint {
    ($($argument:tt)*) => {{
        use std::io::Write;
        _ = write!(std::io::stderr(), $($argument)*);
    }};
}
