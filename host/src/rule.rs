//! Rule: what `posternd rule` does with a module, without a daemon.

mod verify;

pub use verify::verify;
