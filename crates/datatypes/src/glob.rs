//! Glob patterns of KEYS, SCAN MATCH, PSUBSCRIBE and CONFIG GET. Pure and without recursion: the work is at most
//! pattern length × text length, whatever the pattern.

/// Stars in a row count once; a pattern that gets past more of them than this, other than at its end, matches nothing.
/// Nothing here depends on it, but it is what Redis 7.2 and Valkey 8.1 reply.
const STARS_MAX: usize = 1000;

/// Whether `pattern` matches all of `text`; with `nocase`, ASCII letters match in either case.
///
/// Contract (Redis 7.2 `stringmatchlen`): `*` any run of bytes, `?` any byte, `[a-z]` and `[^a-z]` classes, `\x`
/// the byte x itself. A class that is never closed ends with the pattern; a final `\` stands for itself.
pub fn glob_match(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    let (mut at, mut position) = (0, 0);
    // Where to go on after a mismatch: behind the last star, with that star matching one byte more. Earlier
    // stars never need to be tried again, which is what bounds the work.
    let mut retry: Option<(usize, usize)> = None;
    let mut stars = 0;
    while position < text.len() {
        if let Some(&token) = pattern.get(at) {
            if token == b'*' {
                at += pattern[at..].iter().take_while(|&&token| token == b'*').count();
                stars += 1;
                if at == pattern.len() || stars > STARS_MAX {
                    return at == pattern.len();
                }
                retry = Some((at, position));
                continue;
            }
            let (matches, next) = match_one(pattern, at, text[position], nocase);
            if matches {
                at = next;
                position += 1;
                continue;
            }
        }
        let Some((behind_star, from)) = retry else { return false };
        retry = Some((behind_star, from + 1));
        at = behind_star;
        position = from + 1;
    }
    pattern[at..].iter().all(|&token| token == b'*')
}

/// Whether the pattern has no special byte, so that it matches exactly one text (itself).
pub fn is_literal(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
}

/// Matches `byte` against the pattern element at `at` (never a star); also returns where the next one starts.
fn match_one(pattern: &[u8], at: usize, byte: u8, nocase: bool) -> (bool, usize) {
    match pattern[at] {
        b'?' => (true, at + 1),
        b'[' => match_class(pattern, at + 1, byte, nocase),
        b'\\' if at + 1 < pattern.len() => (same(pattern[at + 1], byte, nocase), at + 2),
        literal => (same(literal, byte, nocase), at + 1),
    }
}

/// Matches `byte` against the class whose first byte behind `[` is at `at`.
fn match_class(pattern: &[u8], mut at: usize, byte: u8, nocase: bool) -> (bool, usize) {
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    let mut found = false;
    loop {
        match pattern[at..] {
            [] => break,
            [b'\\', escaped, ..] => {
                found |= same(escaped, byte, nocase);
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [first, b'-', last, ..] => {
                found |= in_range(first, last, byte, nocase);
                at += 3;
            }
            [literal, ..] => {
                found |= same(literal, byte, nocase);
                at += 1;
            }
        }
    }
    (found != negated, at)
}

fn in_range(first: u8, last: u8, byte: u8, nocase: bool) -> bool {
    let (low, high) = (first.min(last), first.max(last));
    if nocase {
        let (low, high) = (low.to_ascii_lowercase(), high.to_ascii_lowercase());
        return (low..=high).contains(&byte.to_ascii_lowercase());
    }
    (low..=high).contains(&byte)
}

fn same(a: u8, b: u8, nocase: bool) -> bool {
    a == b || nocase && a.eq_ignore_ascii_case(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_stars_match_nothing() {
        let text = vec![b'a'; 3000];
        for (pattern, count, end, expected) in [
            ("*?", STARS_MAX, "", true),
            ("*?", STARS_MAX, "*", true),
            ("*?", STARS_MAX, "**", true),
            ("**?", STARS_MAX, "", true),
            ("*?", STARS_MAX + 1, "", false),
            ("**?", STARS_MAX + 1, "", false),
        ] {
            let pattern = pattern.repeat(count) + end;
            assert_eq!(glob_match(pattern.as_bytes(), &text, false), expected);
        }
    }

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("**", "", true),
            ("a*", "a", true),
            ("a*c", "abc", true),
            ("a*c", "abcd", false),
            ("*ab*ab", "abababab", true),
            ("?", "", false),
            ("?", "x", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hbllo", true),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h[a-c]llo", "hdllo", false),
            ("[\\]]", "]", true),
            ("[\\-a]", "-", true),
            ("[]", "]", false),
            ("[^]", "x", true),
            ("[^]", "", false),
            ("[abc", "b", true),
            ("[abc", "d", false),
            ("[a-", "-", true),
            ("[a-]", "a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("key:*:[0-9]", "key:abc:7", true),
            ("*[0-9]", "x1y2", true),
            ("foo*", "FOOBAR", false),
        ] {
            assert_eq!(
                glob_match(pattern.as_bytes(), text.as_bytes(), false),
                expected,
                "{pattern:?} against {text:?}"
            );
        }
    }

    #[test]
    fn case_can_be_ignored() {
        for (pattern, text, expected) in [
            ("foo*", "FOOBAR", true),
            ("F[A-C]x", "fbX", true),
            ("\\A", "a", true),
            ("[xyz]", "Y", true),
            ("abc", "abd", false),
        ] {
            assert_eq!(glob_match(pattern.as_bytes(), text.as_bytes(), true), expected, "{pattern:?}");
        }
    }

    /// Redis issue: patterns with many stars took exponential time in recursive matchers.
    #[test]
    fn many_stars_stay_cheap() {
        let pattern = [b"a*".repeat(500), b"b".to_vec()].concat();
        let text = b"a".repeat(20_000);
        assert!(!glob_match(&pattern, &text, false));
    }

    #[test]
    fn literals_are_recognised() {
        assert!(is_literal(b"plain:key"));
        for pattern in [&b"a*"[..], b"a?", b"[a]", b"\\a"] {
            assert!(!is_literal(pattern));
        }
    }
}
