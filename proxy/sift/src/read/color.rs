//! Colours of HTML and CSS, as far as it takes to see that text has none.

/// A colour, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Color {
    /// Red, green, blue.
    Opaque(u8, u8, u8),
    /// What is behind it shows.
    Transparent,
}

pub(super) const BLACK: Color = Color::Opaque(0, 0, 0);
pub(super) const WHITE: Color = Color::Opaque(255, 255, 255);

/// Of a channel; below this text and ground look the same. Grey that is meant to be read differs by 60 and more.
const CONTRAST: u8 = 16;
/// Of 255; paler than this is as good as gone.
const FAINT: f32 = 0.05;

/// Names that mail uses.
const NAMES: &[(&str, Color)] = &[
    ("white", WHITE),
    ("black", BLACK),
    ("transparent", Color::Transparent),
    ("red", Color::Opaque(255, 0, 0)),
    ("green", Color::Opaque(0, 128, 0)),
    ("blue", Color::Opaque(0, 0, 255)),
    ("yellow", Color::Opaque(255, 255, 0)),
    ("gray", Color::Opaque(128, 128, 128)),
    ("grey", Color::Opaque(128, 128, 128)),
    ("silver", Color::Opaque(192, 192, 192)),
    ("lightgray", Color::Opaque(211, 211, 211)),
    ("lightgrey", Color::Opaque(211, 211, 211)),
    ("darkgray", Color::Opaque(169, 169, 169)),
    ("darkgrey", Color::Opaque(169, 169, 169)),
    ("maroon", Color::Opaque(128, 0, 0)),
    ("purple", Color::Opaque(128, 0, 128)),
    ("fuchsia", Color::Opaque(255, 0, 255)),
    ("magenta", Color::Opaque(255, 0, 255)),
    ("lime", Color::Opaque(0, 255, 0)),
    ("olive", Color::Opaque(128, 128, 0)),
    ("navy", Color::Opaque(0, 0, 128)),
    ("teal", Color::Opaque(0, 128, 128)),
    ("aqua", Color::Opaque(0, 255, 255)),
    ("cyan", Color::Opaque(0, 255, 255)),
    ("orange", Color::Opaque(255, 165, 0)),
    ("pink", Color::Opaque(255, 192, 203)),
    ("brown", Color::Opaque(165, 42, 42)),
    ("snow", Color::Opaque(255, 250, 250)),
    ("ivory", Color::Opaque(255, 255, 240)),
    ("whitesmoke", Color::Opaque(245, 245, 245)),
    ("ghostwhite", Color::Opaque(248, 248, 255)),
    ("floralwhite", Color::Opaque(255, 250, 240)),
];

impl Color {
    /// Of a declaration's value or an attribute's; `None` for what names none that is known.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let value = value.trim();
        if let Some(digits) = value.strip_prefix('#') {
            return hexadecimal(digits);
        }
        if let Some((function, arguments)) = value.split_once('(') {
            let function = function.trim();
            let known = function.eq_ignore_ascii_case("rgb") || function.eq_ignore_ascii_case("rgba");
            return known.then(|| components(arguments.trim_end_matches(')'))).flatten();
        }
        let named = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
        // An attribute may leave the hash out.
        named.map(|(_, color)| *color).or_else(|| (value.len() == 6).then(|| hexadecimal(value)).flatten())
    }

    /// Whether text of this colour on `ground` cannot be made out.
    pub(super) fn is_lost_on(self, ground: Self) -> bool {
        match (self, ground) {
            (Self::Transparent, _) => true,
            (Self::Opaque(..), Self::Transparent) => false,
            (Self::Opaque(r, g, b), Self::Opaque(r2, g2, b2)) => {
                [(r, r2), (g, g2), (b, b2)].iter().all(|(one, other)| one.abs_diff(*other) < CONTRAST)
            }
        }
    }
}

fn hexadecimal(digits: &str) -> Option<Color> {
    let nibbles: Vec<u8> = digits
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    match nibbles.as_slice() {
        [_, _, _, 0] | [_, _, _, _, _, _, 0, 0] => Some(Color::Transparent),
        [r, g, b] | [r, g, b, _] => Some(Color::Opaque(r * 17, g * 17, b * 17)),
        [r, r2, g, g2, b, b2] | [r, r2, g, g2, b, b2, _, _] => {
            Some(Color::Opaque(r * 16 + r2, g * 16 + g2, b * 16 + b2))
        }
        _ => None,
    }
}

fn components(arguments: &str) -> Option<Color> {
    let mut parts = arguments.split([',', ' ', '/']).map(str::trim).filter(|part| !part.is_empty());
    let (r, g, b) = (channel(parts.next()?)?, channel(parts.next()?)?, channel(parts.next()?)?);
    let alpha = parts.next().and_then(ratio).unwrap_or(1.0);
    Some(if alpha <= FAINT { Color::Transparent } else { Color::Opaque(r, g, b) })
}

fn channel(part: &str) -> Option<u8> {
    let full = match part.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f32>().ok()? * 2.55,
        None => part.parse::<f32>().ok()?,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped to the range")]
    let channel = full.clamp(0.0, 255.0).round() as u8;
    Some(channel)
}

/// `0.5` or `50%`.
pub(super) fn ratio(part: &str) -> Option<f32> {
    match part.trim().strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f32>().ok().map(|percent| percent / 100.0),
        None => part.trim().parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read_in_each_of_their_spellings() {
        for value in [
            "white",
            " WHITE ",
            "#fff",
            "#FFFFFF",
            "ffffff",
            "rgb(255, 255,255)",
            "rgba(100%,100%,100%,1)",
            "#ffff",
        ] {
            assert_eq!(Color::parse(value), Some(WHITE), "{value}");
        }
        for value in ["transparent", "#0000", "rgba(1,2,3,0)", "rgb(1 2 3 / 0%)"] {
            assert_eq!(Color::parse(value), Some(Color::Transparent), "{value}");
        }
        for value in ["", "inherit", "#", "#12345", "rgb(1,2)", "url(x)", "äöü"] {
            assert_eq!(Color::parse(value), None, "{value}");
        }
    }

    #[test]
    fn text_is_lost_on_its_own_colour() {
        assert!(WHITE.is_lost_on(Color::Opaque(250, 250, 250)) && !BLACK.is_lost_on(WHITE));
        assert!(Color::Transparent.is_lost_on(BLACK));
        assert!(!Color::Opaque(153, 153, 153).is_lost_on(WHITE));
    }
}
