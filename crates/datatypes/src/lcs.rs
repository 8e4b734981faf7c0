//! Longest common subsequence of two strings (LCS). Pure; time is the product of the lengths, and so is the memory
//! where the subsequence itself or its ranges are wanted: ask [`table_bytes`] before.

/// A run of bytes that both strings share, as `LCS … IDX` lists it; ends are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    pub a_first: usize,
    pub a_last: usize,
    pub b_first: usize,
    pub b_last: usize,
}

impl Match {
    /// Number of bytes in the run.
    pub fn len_bytes(&self) -> usize {
        self.a_last - self.a_first + 1
    }
}

/// A longest common subsequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lcs {
    pub bytes: Vec<u8>,
    /// Last run first, as Redis lists them.
    pub matches: Vec<Match>,
}

/// Bytes of transient memory that [`lcs`] takes for strings of these lengths.
pub fn table_bytes(a_len: usize, b_len: usize) -> u128 {
    (a_len as u128 + 1) * (b_len as u128 + 1) * size_of::<u32>() as u128
}

/// Length of a longest common subsequence. Memory: one row.
pub fn lcs_len(a: &[u8], b: &[u8]) -> usize {
    let mut row = vec![0u32; b.len() + 1];
    for &in_a in a {
        let mut diagonal = 0;
        for (column, &in_b) in b.iter().enumerate() {
            let above = row[column + 1];
            row[column + 1] = if in_a == in_b { diagonal + 1 } else { above.max(row[column]) };
            diagonal = above;
        }
    }
    row[b.len()] as usize
}

/// The longest common subsequence that Redis 7.2 reports, with the ranges it is made of: where several have
/// the same length, the walk back from the ends drops a byte of `b` first.
pub fn lcs(a: &[u8], b: &[u8]) -> Lcs {
    let width = b.len() + 1;
    let mut table = vec![0u32; (a.len() + 1) * width];
    for (i, &in_a) in a.iter().enumerate() {
        let (done, current) = table.split_at_mut((i + 1) * width);
        let above = &done[i * width..];
        for (j, &in_b) in b.iter().enumerate() {
            current[j + 1] = if in_a == in_b { above[j] + 1 } else { above[j + 1].max(current[j]) };
        }
    }
    let (mut i, mut j) = (a.len(), b.len());
    let mut bytes = Vec::with_capacity(table[i * width + j] as usize);
    let mut matches: Vec<Match> = Vec::new();
    let mut run_open = false;
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            (i, j) = (i - 1, j - 1);
            bytes.push(a[i]);
            match matches.last_mut() {
                Some(run) if run_open => (run.a_first, run.b_first) = (i, j),
                _ => matches.push(Match { a_first: i, a_last: i, b_first: j, b_last: j }),
            }
            run_open = true;
        } else {
            run_open = false;
            if table[(i - 1) * width + j] > table[i * width + j - 1] { i -= 1 } else { j -= 1 }
        }
    }
    bytes.reverse();
    Lcs { bytes, matches }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Redis's documentation of LCS.
    #[test]
    fn documented_example() {
        let found = lcs(b"ohmytext", b"mynewtext");
        assert_eq!(found.bytes, b"mytext");
        assert_eq!(
            found.matches,
            [
                Match { a_first: 4, a_last: 7, b_first: 5, b_last: 8 },
                Match { a_first: 2, a_last: 3, b_first: 0, b_last: 1 },
            ]
        );
        assert_eq!(found.matches[0].len_bytes(), 4);
    }

    #[test]
    fn edges() {
        for (a, b, expected) in
            [("", "", ""), ("a", "", ""), ("abc", "abc", "abc"), ("abc", "xyz", ""), ("aaaa", "aa", "aa")]
        {
            let found = lcs(a.as_bytes(), b.as_bytes());
            assert_eq!(found.bytes, expected.as_bytes());
            assert_eq!(lcs_len(a.as_bytes(), b.as_bytes()), expected.len());
            let in_runs: usize = found.matches.iter().map(Match::len_bytes).sum();
            assert_eq!(in_runs, expected.len());
        }
        assert_eq!(table_bytes(9, 9), 400);
    }
}
