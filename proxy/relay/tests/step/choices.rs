//! Where a play could go one way or another, something chooses: bytes of a fuzzer, a seed, or nothing but the plain way.

/// A source of choices that can be had again.
#[derive(Clone, Debug)]
pub(crate) enum Choices {
    /// Always the plain way.
    Plain,
    /// These octets first, then what follows from them.
    Drawn { octets: Vec<u8>, at: usize, state: u64 },
}

impl Choices {
    /// Choices by a seed.
    pub(crate) fn of_seed(seed: u64) -> Self {
        Self::Drawn { octets: Vec::new(), at: 0, state: seed }
    }

    /// Choices by a fuzzer's octets, and by what follows from them when they are used up.
    pub(crate) fn of_octets(octets: &[u8]) -> Self {
        let state = octets.iter().fold(0, |sum: u64, &octet| sum.wrapping_mul(31) + u64::from(octet));
        Self::Drawn { octets: octets.to_vec(), at: 0, state }
    }

    /// A number below `bound`; 0 is the plain way.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let Self::Drawn { octets, at, state } = self else { return 0 };
        if bound < 2 {
            return 0;
        }
        if let Some(&octet) = octets.get(*at) {
            *at += 1;
            return usize::from(octet) % bound;
        }
        // SplitMix64.
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap_or(0)
    }

    /// True once in `of` times; never the plain way.
    pub(crate) fn once_in(&mut self, of: usize) -> bool {
        self.below(of) == of - 1 && of > 1
    }
}
