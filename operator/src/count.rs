//! How messages count things.

/// `1 object`, `2 objects`, `3 proxies`: a number and a noun, which is given in the singular.
pub fn counted(count: usize, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        let cases = [
            (0, "pod", "0 pods"),
            (1, "pod", "1 pod"),
            (2, "namespace", "2 namespaces"),
            (1, "connected proxy", "1 connected proxy"),
            (3, "connected proxy", "3 connected proxies"),
        ];
        for (count, noun, expected) in cases {
            assert_eq!(counted(count, noun), expected);
        }
    }
}
