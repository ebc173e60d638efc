//! One line of a list of system calls: its number, and what the answer is.

use nix::libc::{c_int, c_long};

/// A system call that does not kill.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) number: c_long,
    /// It is made if all tests of one of these hold.
    pub(super) when: &'static [&'static [Test]],
    /// What happens if not.
    pub(super) otherwise: Otherwise,
}

/// What becomes of a call that is on the list, but not like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// The process dies.
    Kill,
    /// It fails with this error.
    Fail(c_int),
}

/// Says something of one half of an argument. The kernel reads most arguments as 32 bits, so most tests are of the lower half.
#[derive(Clone, Copy, Debug)]
pub(super) struct Test {
    /// From 0 to 5.
    pub(super) argument: u8,
    pub(super) is_upper_half: bool,
    /// These bits ...
    pub(super) mask: u32,
    /// ... are these.
    pub(super) value: Value,
}

/// What a test compares with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Is(u32),
    /// The process that puts the list on.
    OwnProcess,
}

/// Always holds.
const ALWAYS: &[&[Test]] = &[&[]];

/// May be made.
pub(super) const fn allow(number: c_long) -> Call {
    Call { number, when: ALWAYS, otherwise: Otherwise::Kill }
}

/// Fails with this error.
pub(super) const fn fail(number: c_long, error: c_int) -> Call {
    Call { number, when: &[], otherwise: Otherwise::Fail(error) }
}

/// May be made like this; kills otherwise.
pub(super) const fn allow_if(number: c_long, when: &'static [&'static [Test]]) -> Call {
    Call { number, when, otherwise: Otherwise::Kill }
}

/// May be made like this; fails with this error otherwise.
pub(super) const fn allow_if_or_fail(number: c_long, when: &'static [&'static [Test]], error: c_int) -> Call {
    Call { number, when, otherwise: Otherwise::Fail(error) }
}

/// The argument is this.
pub(super) const fn is(argument: u8, value: u32) -> Test {
    Test { argument, is_upper_half: false, mask: u32::MAX, value: Value::Is(value) }
}

/// Of these bits of the argument exactly those of `value` are set.
pub(super) const fn bits(argument: u8, mask: u32, value: u32) -> Test {
    Test { argument, is_upper_half: false, mask, value: Value::Is(value) }
}

/// The argument names this process.
pub(super) const fn is_own_process(argument: u8) -> Test {
    Test { argument, is_upper_half: false, mask: u32::MAX, value: Value::OwnProcess }
}

/// The upper half of a pointer is zero; with [`is`] of 0 it is the null pointer.
pub(super) const fn has_no_upper_half(argument: u8) -> Test {
    Test { argument, is_upper_half: true, mask: u32::MAX, value: Value::Is(0) }
}
