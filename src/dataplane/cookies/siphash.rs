//! SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012): what it gives away says nothing about the key.

/// The key, from the first byte on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(pub [u64; 2]);

impl Key {
    /// The hash of so many words, as of their bytes with the little end first.
    pub fn hash<const N: usize>(self, words: [u64; N]) -> u64 {
        const LENGTH: u32 = 56;
        let [a, b] = self.0;
        let mut state = State([
            a ^ 0x736F_6D65_7073_6575,
            b ^ 0x646F_7261_6E64_6F6D,
            a ^ 0x6C79_6765_6E65_7261,
            b ^ 0x7465_6462_7974_6573,
        ]);
        words.into_iter().for_each(|word| state.take(word));
        state.take((N as u64 * 8) << LENGTH);
        state.0[2] ^= 0xFF;
        (0..4).for_each(|_| state.round());
        state.0.into_iter().fold(0, |sum, word| sum ^ word)
    }
}

struct State([u64; 4]);

impl State {
    #[inline(always)]
    fn take(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.round();
        self.0[0] ^= word;
    }

    #[inline(always)]
    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The authors' test vectors, of which those of whole words count: key 00, 01, 02 … and message 00, 01, 02 …
    #[test]
    fn the_authors_vectors() {
        const WORD: u64 = 0x0706_0504_0302_0100;
        const STEP: u64 = 0x0808_0808_0808_0808;
        let key = Key([WORD, WORD + STEP]);
        assert_eq!(key.hash([]), 0x726F_DB47_DD0E_0E31);
        assert_eq!(key.hash([WORD]), 0x93F5_F579_9A93_2462);
        assert_eq!(key.hash([WORD, WORD + STEP]), 0x3F2A_CC7F_57C2_9BDB);
    }
}
