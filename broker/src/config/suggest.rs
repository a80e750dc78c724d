//! The nearest known name to a mistyped one.

/// The candidate with the smallest edit distance, if it is near enough to be meant: at most a third of its letters
/// differ. A name typed without its section, or in another section, is matched by its last part.
#[must_use]
pub fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_ascii_lowercase();
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let whole = distance(&typed, candidate);
            let part = distance(&last(&typed), &last(candidate));
            if whole * 3 <= candidate.len() {
                Some((whole, candidate))
            } else if part * 4 <= last(candidate).len() {
                // Any whole match is nearer than one of the last part alone.
                Some((candidate.len() + part, candidate))
            } else {
                None
            }
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, remove, replace, swap of neighbours) between two short ASCII names.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, &y) in b.iter().enumerate() {
            let replace = last[j] + usize::from(x != y);
            let mut best = replace.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("listen", "listen"), 0);
        assert_eq!(distance("lisetn", "listen"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn only_what_is_near_is_suggested() {
        let known = ["server.listen", "storage.segment_bytes", "log.level"];
        assert_eq!(nearest("server.lisetn", known), Some("server.listen"));
        assert_eq!(nearest("sever.listen", known), Some("server.listen"));
        assert_eq!(nearest("storage.segment_byte", known), Some("storage.segment_bytes"));
        assert_eq!(nearest("logging.level", known), Some("log.level"));
        assert_eq!(nearest("listen", known), Some("server.listen"));
        assert_eq!(nearest("storage.colour", known), None);
        assert_eq!(nearest("", known), None);
    }
}
