//! Style sheets within HTML: rules for one class, one id or one kind of element that hide what they apply to. Rules under a
//! condition (`@media`) and those that depend on what is around are left alone: whom they apply to is not known.

use std::collections::HashMap;

use super::style::Style;

/// Rules that are kept, of all sheets of a page.
const MAX_RULES: usize = 256;
/// Octets of style sheets that are read.
const MAX_SHEET: usize = 256 << 10;
/// Classes of an element that are looked up.
const MAX_CLASSES: usize = 16;

/// Rules by their selector.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    rules: HashMap<String, Style>,
    read: usize,
}

impl Sheet {
    /// Reads what stands between `<style>` and `</style>`.
    pub(super) fn read(&mut self, css: &str) {
        let css = crate::cut::cut(css, MAX_SHEET.saturating_sub(self.read));
        self.read += css.len();
        let css = without_comments(css);
        let mut rest = css.as_str();
        while let Some((selectors, behind)) = rest.split_once('{') {
            // A statement such as `@import` ends with a semicolon, before the next rule's selector.
            let selectors = selectors.rsplit(';').next().unwrap_or_default().trim();
            if selectors.starts_with('@') {
                rest = behind_block(behind);
                continue;
            }
            let (declarations, behind) = behind.split_once('}').unwrap_or((behind, ""));
            rest = behind;
            let style = Style::parse(declarations);
            if !style.is_silent() {
                selectors
                    .split(',')
                    .map(str::trim)
                    .filter(|one| is_simple(one))
                    .for_each(|one| self.add(one, style));
            }
        }
    }

    /// What the rules say of an element.
    pub(super) fn style(&self, name: &str, class: Option<&str>, id: Option<&str>) -> Style {
        if self.rules.is_empty() {
            return Style::default();
        }
        let mut style = self.find(name);
        let mut key = String::new();
        for class in class.unwrap_or_default().split_ascii_whitespace().take(MAX_CLASSES) {
            for element in ["", name] {
                key.clear();
                key.extend([element, ".", class]);
                style = style.overridden_by(self.find(&key));
            }
        }
        if let Some(id) = id {
            for element in ["", name] {
                key.clear();
                key.extend([element, "#", id.trim()]);
                style = style.overridden_by(self.find(&key));
            }
        }
        style
    }

    fn add(&mut self, selector: &str, style: Style) {
        if self.rules.len() < MAX_RULES || self.rules.contains_key(selector) {
            let rule = self.rules.entry(selector.to_owned()).or_default();
            *rule = rule.overridden_by(style);
        }
    }

    fn find(&self, key: &str) -> Style {
        self.rules.get(key).copied().unwrap_or_default()
    }
}

fn is_simple(selector: &str) -> bool {
    let special = |octet: u8| {
        !(octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.' | b'#') || octet > 127)
    };
    let joints = selector.bytes().filter(|octet| matches!(octet, b'.' | b'#')).count();
    !selector.is_empty() && joints <= 1 && !selector.bytes().any(special)
}

fn without_comments(css: &str) -> String {
    let mut left = String::with_capacity(css.len());
    let mut rest = css;
    while let Some((before, comment)) = rest.split_once("/*") {
        left.push_str(before);
        rest = comment.split_once("*/").map_or("", |(_, behind)| behind);
    }
    left.push_str(rest);
    left.replace("<!--", " ").replace("-->", " ")
}

/// Skips a block whose opening brace is behind us, blocks within it included.
fn behind_block(css: &str) -> &str {
    let mut depth = 1_usize;
    for (at, octet) in css.bytes().enumerate() {
        match octet {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return css.get(at + 1..).unwrap_or_default();
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_apply_to_classes_ids_and_elements() {
        let mut sheet = Sheet::default();
        sheet.read(
            "@import 'x'; .hide, td.gone { display: none } /* .no { display:none } */ #x{font-size:0}
             @media screen { .phone { display:none } } div > .deep {display:none} .last{visibility:hidden",
        );
        assert_eq!(sheet.style("p", Some("a hide"), None).gone, Some(true));
        assert_eq!(sheet.style("td", Some("gone"), None).gone, Some(true));
        assert_eq!(sheet.style("p", Some("gone no phone deep"), None), Style::default());
        assert_eq!(sheet.style("p", None, Some("x")).tiny, Some(true));
        assert_eq!(sheet.style("p", Some("last"), None).invisible, Some(true));
    }

    #[test]
    fn what_is_no_sheet_does_no_harm() {
        for css in ["", "{", "}", "{{{{", "@media{", "/*", "a{b", ".a{display:none}}}.b{display:none}"] {
            Sheet::default().read(css);
        }
    }
}
