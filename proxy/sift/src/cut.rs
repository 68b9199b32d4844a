//! Texts that keep to a bound.

/// The beginning of a text, of at most so many octets, that ends between characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

/// As [`cut`], of a text that is owned already.
pub(crate) fn cut_owned(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!((cut("aöb", 0), cut("aöb", 2), cut("aöb", 3), cut("aöb", 9)), ("", "a", "aö", "aöb"));
        assert_eq!(cut_owned("aöb".to_owned(), 2), "a");
    }
}
