//! Chain: an error with everything that led to it, as people read it.

use std::error::Error;
use std::fmt::{self, Display, Formatter};

/// An error, then its source, and so on, with colons between. Each error says what failed here and leaves why to its source.
pub fn chain(error: &(dyn Error + 'static)) -> impl Display {
    ErrorChain(error)
}

struct ErrorChain<'a>(&'a (dyn Error + 'static));

impl Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(source) = next {
            write!(f, ": {source}")?;
            next = source.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug)]
    struct Failed(&'static str, Option<Box<dyn Error>>);

    impl Display for Failed {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Failed {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref()
        }
    }

    #[test]
    fn says_what_failed_and_why_in_this_order() {
        let disk = io::Error::other("no space left");
        assert_eq!(chain(&disk).to_string(), "no space left");
        let write = Failed("cannot write journal.redb", Some(Box::new(disk)));
        let open = Failed("no journal", Some(Box::new(write)));
        assert_eq!(chain(&open).to_string(), "no journal: cannot write journal.redb: no space left");
    }
}
