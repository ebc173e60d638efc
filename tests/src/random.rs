//! Random numbers that are the same in every run.

/// How often a test does something at random: as `POSTERN_ROUNDS` says, or so often if that is not set.
#[must_use]
pub fn rounds(few: u32) -> u32 {
    rounds_asked_for().unwrap_or(few)
}

/// What `POSTERN_ROUNDS` says.
pub(crate) fn rounds_asked_for() -> Option<u32> {
    number_of("POSTERN_ROUNDS")
}

fn number_of<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok()?.parse().ok()
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence that belongs to `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The sequence that belongs to `POSTERN_SEED`, or to this seed if that is not set; it is printed, so that a failure can be had again.
    #[must_use]
    pub fn of_environment(seed: u64) -> Self {
        let seed = number_of("POSTERN_SEED").unwrap_or(seed);
        eprintln!("POSTERN_SEED={seed}");
        Self::new(seed)
    }

    /// Any number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 up to `bound`, which is left out.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % bound as u64).expect("below a usize")
    }

    /// 0 up to `bound`, which is left out.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn port_below(&mut self, bound: u16) -> u16 {
        u16::try_from(self.number() % u64::from(bound)).expect("below a port")
    }

    /// Any byte.
    pub const fn byte(&mut self) -> u8 {
        self.number().to_be_bytes()[0]
    }

    /// One of them.
    ///
    /// # Panics
    /// If there is none.
    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}
