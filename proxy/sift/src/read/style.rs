//! Declarations of CSS, as far as they hide text.

use super::color::{self, Color};

/// Declarations of one rule that are looked at; style sheets that people write have twenty.
const MAX_DECLARATIONS: usize = 64;
/// Text of at most this height is not seen, in CSS pixels.
const TINY: f32 = 2.0;
/// What is moved so far, in CSS pixels, is off the page.
const FAR: f32 = -400.0;
/// An element of at most this extent shows nothing.
const FLAT: f32 = 2.0;
/// Of 1; paler than this is as good as gone.
const FAINT: f32 = 0.05;

/// What declarations say of showing; `None` is nothing said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Style {
    /// No box at all, nothing within can be seen again.
    pub(super) gone: Option<bool>,
    /// There is a box, and nothing of it can be seen.
    pub(super) erased: bool,
    /// Not shown; something within can be.
    pub(super) invisible: Option<bool>,
    /// Too small to be read.
    pub(super) tiny: Option<bool>,
    pub(super) color: Option<Color>,
    pub(super) background: Option<Color>,
    /// A picture or gradient is behind it: its colour is not known.
    pub(super) pictured: bool,
    /// It may be cut to its extent.
    pub(super) clipped: bool,
    /// It has next to no width.
    pub(super) narrow: bool,
    /// It has next to no height.
    pub(super) low: bool,
    /// It is moved out of the flow, and far.
    pub(super) placed: bool,
    pub(super) far: bool,
}

impl Style {
    /// Of the declarations between braces, or of a `style` attribute.
    pub(super) fn parse(declarations: &str) -> Self {
        let mut style = Self::default();
        for declaration in declarations.split(';').take(MAX_DECLARATIONS) {
            if let Some((name, value)) = declaration.split_once(':') {
                let name = name.trim();
                let value = value.trim();
                let value = value.split_once('!').map_or(value, |(value, _)| value.trim_end());
                style.declare(name, value);
            }
        }
        style.erased |= (style.narrow || style.low) && style.clipped || style.placed && style.far;
        style
    }

    /// What `over` says, else what this says.
    pub(super) fn overridden_by(self, over: Self) -> Self {
        Self {
            gone: over.gone.or(self.gone),
            erased: over.erased || self.erased,
            narrow: over.narrow || self.narrow,
            low: over.low || self.low,
            invisible: over.invisible.or(self.invisible),
            tiny: over.tiny.or(self.tiny),
            color: over.color.or(self.color),
            background: over.background.or(self.background),
            pictured: over.pictured || self.pictured,
            ..Self::default()
        }
    }

    /// It says nothing that matters here.
    pub(super) fn is_silent(&self) -> bool {
        *self == Self::default()
    }

    fn declare(&mut self, name: &str, value: &str) {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let says = |other: &str| value.eq_ignore_ascii_case(other);
        match name.as_bytes().first().map(u8::to_ascii_lowercase) {
            Some(b'd') if is("display") => self.gone = Some(says("none")),
            Some(b'v') if is("visibility") => self.invisible = Some(says("hidden") || says("collapse")),
            Some(b'f') if is("font-size") => self.tiny = is_tiny(value).or(self.tiny),
            Some(b'f') if is("font") => {
                let size = value.split_ascii_whitespace().find_map(|word| is_tiny(word.split('/').next()?));
                self.tiny = size.or(self.tiny);
            }
            Some(b'l') if is("line-height") && pixels(value) == Some(0.0) => self.low = true,
            Some(b'o') if is("opacity") && color::ratio(value).is_some_and(|opacity| opacity <= FAINT) => {
                self.erased = true;
            }
            Some(b'o') if is("overflow") || is("overflow-x") || is("overflow-y") => {
                self.clipped |= says("hidden") || says("clip");
            }
            Some(b'c') if is("color") => self.color = Color::parse(value).or(self.color),
            Some(b'c') if is("clip") => self.erased |= clips_all(value),
            Some(b'b') if is("background-color") => self.background = Color::parse(value).or(self.background),
            Some(b'b') if is("background") => self.set_background(value),
            Some(b'b') if is("background-image") && !says("none") => self.pictured = true,
            Some(b'h') if is("height") => self.low |= is_flat(value),
            Some(b'w') if is("width") => self.narrow |= is_flat(value),
            Some(b'm') if is("max-height") => self.low |= is_flat(value),
            Some(b'm') if is("max-width") => self.narrow |= is_flat(value),
            Some(b'm') if is("mso-hide") && says("all") => self.gone = self.gone.or(Some(true)),
            Some(b'm') if is("margin-left") || is("margin-top") || is("margin") => self.move_away(value),
            Some(b'p') if is("position") => {
                self.placed |= says("absolute") || says("fixed") || says("relative")
            }
            Some(b'l') if is("left") => self.far |= is_far(value),
            Some(b't') if is("top") => self.far |= is_far(value),
            Some(b'r') if is("right") => self.far |= is_far(value),
            Some(b't') if is("text-indent") => self.move_away(value),
            Some(b't') if is("transform") && value.replace(' ', "").eq_ignore_ascii_case("scale(0)") => {
                self.erased = true;
            }
            _ => {}
        }
    }

    fn set_background(&mut self, value: &str) {
        if value.contains("url(") || value.contains("gradient(") {
            self.pictured = true;
        }
        let color = Color::parse(value).or_else(|| value.split_ascii_whitespace().find_map(Color::parse));
        self.background = color.or(self.background);
    }

    fn move_away(&mut self, value: &str) {
        self.erased |= value.split_ascii_whitespace().any(is_far);
    }
}

fn is_far(value: &str) -> bool {
    pixels(value).is_some_and(|pixels| pixels <= FAR)
}

fn is_flat(value: &str) -> bool {
    pixels(value).is_some_and(|pixels| (0.0..FLAT).contains(&pixels))
}

/// `None` where it is no size.
fn is_tiny(value: &str) -> Option<bool> {
    if let Some(percent) = value.strip_suffix('%') {
        return percent.trim().parse::<f32>().ok().map(|percent| percent <= 10.0);
    }
    let keywords =
        ["xx-small", "x-small", "small", "medium", "large", "x-large", "xx-large", "smaller", "larger"];
    if keywords.iter().any(|keyword| keyword.eq_ignore_ascii_case(value)) {
        return Some(false);
    }
    pixels(value).map(|pixels| pixels < TINY)
}

fn clips_all(value: &str) -> bool {
    let inner = value.split_once('(').map_or("", |(_, inner)| inner).trim_end_matches(')');
    let mut sides = inner.split([',', ' ']).filter(|side| !side.is_empty()).map(pixels);
    value.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("rect"))
        && sides.clone().count() == 4
        && sides.all(|side| side.is_some_and(|side| side.abs() < FLAT))
}

/// A length in CSS pixels; a bare number counts as that, as mail programs have it.
fn pixels(value: &str) -> Option<f32> {
    let value = value.trim();
    let end = value.find(|digit: char| !matches!(digit, '0'..='9' | '.' | '-' | '+')).unwrap_or(value.len());
    let (number, unit) = value.split_at_checked(end)?;
    let number: f32 = number.parse().ok()?;
    let unit = unit.trim();
    let is = |other: &str| unit.eq_ignore_ascii_case(other);
    let scale = if unit.is_empty() || is("px") {
        1.0
    } else if is("pt") {
        4.0 / 3.0
    } else if is("em") || is("rem") || is("pc") {
        16.0
    } else if is("ex") || is("ch") || is("vw") || is("vh") {
        8.0
    } else if is("in") {
        96.0
    } else if is("cm") {
        37.8
    } else if is("mm") {
        3.78
    } else {
        return None;
    };
    Some(number * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_that_hide_are_known() {
        for gone in [
            "display:none",
            "DISPLAY : NONE !important; color:red",
            "opacity:0",
            "opacity: 0.01;display:block",
            "position:absolute; left:-9999px",
            "top:-1000px;position:fixed",
            "text-indent:-9999px",
            "max-height:0;overflow:hidden",
            "overflow:hidden;width:1px;height:1px",
            "mso-hide:all",
            "clip:rect(0,0,0,0)",
            "clip: rect(0 0 0 0)",
            "transform:scale( 0 )",
        ] {
            let style = Style::parse(gone);
            assert!(style.erased || style.gone == Some(true), "{gone}");
        }
        for tiny in [
            "font-size:0",
            "font-size:1px",
            "font-size:0.1em",
            "font:0px arial",
            "font: 1px/1 x",
            "font-size:5%",
        ] {
            assert_eq!(Style::parse(tiny).tiny, Some(true), "{tiny}");
        }
        assert_eq!(Style::parse("visibility:hidden").invisible, Some(true));
    }

    #[test]
    fn ordinary_declarations_hide_nothing() {
        for seen in [
            "display:block",
            "opacity:0.5",
            "left:-9999px",
            "position:absolute;left:10px",
            "max-height:0",
            "overflow:hidden;width:100%;height:auto",
            "clip:rect(0,100px,100px,0)",
            "font-size:12px;font:12px/14px arial",
            "margin:0 auto;margin-left:-10px",
            ";;:;x",
            "",
        ] {
            let style = Style::parse(seen);
            assert!(
                style.gone != Some(true) && style.tiny != Some(true) && style.invisible.is_none(),
                "{seen}"
            );
        }
    }

    #[test]
    fn colours_are_taken_from_the_short_form_too() {
        let style = Style::parse("color:#fff;background: #FFFFFF no-repeat");
        assert!(style.color.zip(style.background).is_some_and(|(text, ground)| text.is_lost_on(ground)));
        assert!(Style::parse("background:url(x.png) #fff").pictured);
    }
}
