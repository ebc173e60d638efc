//! Turns a list of system calls into the program that the kernel runs at each of them. Knows BPF, and no list.
//!
//! A program of our own instead of seccompiler's: that one has one answer to whatever is not allowed, and ours has three. A call that
//! is allowed whatever its arguments costs nothing after the first time: the kernel keeps a bitmap of those.

use nix::libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, ENOSYS,
    SECCOMP_RET_ALLOW, SECCOMP_RET_DATA, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, SYS_mseal, c_int,
    c_long,
};
use seccompiler::sock_filter;

use super::call::{Call, Otherwise, Test, Value};

/// The newest call that was weighed when the lists were written. Numbers of this age are the same on all processors.
const NEWEST: c_long = SYS_mseal;

/// How the kernel names the processor, so that a call in the 32-bit manner is not mistaken for another.
#[cfg(target_arch = "x86_64")]
const PROCESSOR: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const PROCESSOR: u32 = 0xc000_00b7;

// Where things stand in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The program for a list in parts. `own` is the process that it is put on.
///
/// # Errors
///
/// A mistake in a list, in words: twice the same call, or more tests of one than a jump can pass over.
pub(super) fn assemble(list: &[&[Call]], own: u32) -> Result<Vec<sock_filter>, String> {
    let mut program = vec![
        load(ARCHITECTURE),
        jump(BPF_JEQ, PROCESSOR, 1, 0),
        answer(SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
        // The calls of x32 have bit 30 set, so they end here as well.
        jump(BPF_JGE, number(NEWEST)? + 1, 0, 1),
        answer(error(ENOSYS)),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for call in list.iter().copied().flatten() {
        if !seen.insert(call.number) {
            return Err(format!("system call {} is listed twice", call.number));
        }
        let block = block(call, own)?;
        program.push(jump(BPF_JEQ, number(call.number)?, 0, short(block.len())?));
        program.extend(block);
    }
    program.push(answer(SECCOMP_RET_KILL_PROCESS));
    Ok(program)
}

/// What is done for one call; it always ends in an answer.
fn block(call: &Call, own: u32) -> Result<Vec<sock_filter>, String> {
    let mut block = Vec::new();
    for tests in call.when {
        // Each test is three instructions: where the last fails, it passes over the answer only.
        for (index, test) in tests.iter().enumerate() {
            let Test { argument, is_upper_half, mask, value } = *test;
            let value = match value {
                Value::Is(value) => value,
                Value::OwnProcess => own,
            };
            let to_next = (tests.len() - index - 1) * 3 + 1;
            block.push(load(ARGUMENTS + u32::from(argument) * 8 + u32::from(is_upper_half) * 4));
            block.push(instruction(BPF_ALU | BPF_AND | BPF_K, mask, 0, 0));
            block.push(jump(BPF_JEQ, value, 0, short(to_next)?));
        }
        block.push(answer(SECCOMP_RET_ALLOW));
        if tests.is_empty() {
            return Ok(block);
        }
    }
    block.push(answer(match call.otherwise {
        Otherwise::Kill => SECCOMP_RET_KILL_PROCESS,
        Otherwise::Fail(errno) => error(errno),
    }));
    Ok(block)
}

fn number(call: c_long) -> Result<u32, String> {
    u32::try_from(call).map_err(|_| format!("{call} is no number of a system call"))
}

fn short(length: usize) -> Result<u8, String> {
    u8::try_from(length).map_err(|_| format!("{length} instructions for one system call"))
}

fn error(errno: c_int) -> u32 {
    SECCOMP_RET_ERRNO | (errno.cast_unsigned() & SECCOMP_RET_DATA)
}

fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0)
}

fn jump(test: u32, value: u32, if_so: u8, if_not: u8) -> sock_filter {
    instruction(BPF_JMP | test | BPF_K, value, if_so, if_not)
}

fn answer(answer: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, answer, 0, 0)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    // The codes are eight bits wide; the C library has them wider.
    sock_filter { code: u16::try_from(code).unwrap_or(u16::MAX), jt, jf, k }
}

#[cfg(test)]
mod tests {
    use nix::libc::{EACCES, SYS_getpid, SYS_kill, SYS_openat, SYS_ptrace, SYS_read};

    use super::super::call::{allow, allow_if, allow_if_or_fail, bits, is, is_own_process};
    use super::*;

    /// What the kernel would answer to a call with these arguments.
    fn run(program: &[sock_filter], call: c_long, arguments: [u64; 6]) -> u32 {
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            at += 1;
            let go = |is_so: bool| usize::from(if is_so { jt } else { jf });
            match u32::from(code) {
                it if it == BPF_LD | BPF_W | BPF_ABS => {
                    accumulator = match k {
                        NUMBER => u32::try_from(call).unwrap(),
                        ARCHITECTURE => PROCESSOR,
                        offset => {
                            let argument = arguments[usize::try_from((offset - ARGUMENTS) / 8).unwrap()];
                            let shift = if offset % 8 == 0 { 0 } else { 32 };
                            u32::try_from(argument >> shift & 0xffff_ffff).unwrap()
                        }
                    }
                }
                it if it == BPF_ALU | BPF_AND | BPF_K => accumulator &= k,
                it if it == BPF_JMP | BPF_JEQ | BPF_K => at += go(accumulator == k),
                it if it == BPF_JMP | BPF_JGE | BPF_K => at += go(accumulator >= k),
                it if it == BPF_RET | BPF_K => return k,
                other => panic!("unknown instruction {other}"),
            }
        }
    }

    const LIST: &[&[Call]] = &[
        &[allow(SYS_read), allow_if(SYS_kill, &[&[is_own_process(0)], &[is(0, 7), is(1, 0)]])],
        &[allow_if_or_fail(SYS_openat, &[&[bits(2, 0b11, 0b01)]], EACCES)],
    ];

    #[test]
    fn each_call_has_its_answer() {
        let program = assemble(LIST, 42).unwrap();
        let run = |call, arguments| run(&program, call, arguments);
        assert_eq!(run(SYS_read, [9; 6]), SECCOMP_RET_ALLOW);
        assert_eq!(run(SYS_kill, [42, 9, 0, 0, 0, 0]), SECCOMP_RET_ALLOW);
        assert_eq!(run(SYS_kill, [7, 0, 0, 0, 0, 0]), SECCOMP_RET_ALLOW);
        assert_eq!(run(SYS_kill, [7, 9, 0, 0, 0, 0]), SECCOMP_RET_KILL_PROCESS);
        assert_eq!(run(SYS_openat, [0, 0, 0b101, 0, 0, 0]), SECCOMP_RET_ALLOW);
        assert_eq!(run(SYS_openat, [0, 0, 0b111, 0, 0, 0]), error(EACCES));
        assert_eq!(run(SYS_ptrace, [0; 6]), SECCOMP_RET_KILL_PROCESS);
        // Newer than what is known.
        assert_eq!(run(NEWEST, [0; 6]), SECCOMP_RET_KILL_PROCESS);
        assert_eq!(run(NEWEST + 1, [0; 6]), error(ENOSYS));
        // x32: a known number with a bit that only that manner of calling has.
        assert_eq!(run(SYS_read | 0x4000_0000, [0; 6]), error(ENOSYS));
    }

    #[test]
    fn a_call_listed_twice_is_a_mistake() {
        let twice: &[&[Call]] = &[&[allow(SYS_getpid)], &[allow(SYS_getpid)]];
        let error = assemble(twice, 1).unwrap_err();
        assert!(error.contains("listed twice"), "{error}");
    }
}
