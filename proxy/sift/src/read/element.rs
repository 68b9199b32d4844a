//! Elements of HTML by what matters of them here.

/// What an element does to the text around and within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It goes on in the line.
    Inline,
    /// It begins a new line, and one behind it.
    Block,
    /// A cell of a table, apart from its neighbours.
    Cell,
    /// It has no content and no end tag.
    Void,
    /// A line break.
    Break,
    /// Its text is never shown, and is none that anybody wrote to be read.
    Silent,
}

/// The flow of an element (HTML §15.3).
pub(super) fn flow(name: &[u8]) -> Flow {
    match name {
        b"br" | b"hr" => Flow::Break,
        b"area" | b"base" | b"col" | b"embed" | b"img" | b"image" | b"input" | b"link" | b"meta"
        | b"param" | b"source" | b"track" | b"wbr" | b"basefont" | b"bgsound" | b"frame" => Flow::Void,
        b"script" | b"style" | b"title" | b"template" | b"iframe" | b"noframes" | b"noembed" | b"xml" => {
            Flow::Silent
        }
        b"td" | b"th" => Flow::Cell,
        b"address" | b"article" | b"aside" | b"blockquote" | b"body" | b"center" | b"dd" | b"details"
        | b"dialog" | b"dir" | b"div" | b"dl" | b"dt" | b"fieldset" | b"figcaption" | b"figure"
        | b"footer" | b"form" | b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" | b"head" | b"header"
        | b"hgroup" | b"html" | b"legend" | b"li" | b"listing" | b"main" | b"menu" | b"nav" | b"ol"
        | b"optgroup" | b"option" | b"p" | b"plaintext" | b"pre" | b"section" | b"select" | b"summary"
        | b"table" | b"tbody" | b"textarea" | b"tfoot" | b"thead" | b"tr" | b"ul" | b"xmp" => Flow::Block,
        _ => Flow::Inline,
    }
}

/// Whether an open `open` ends where `next` begins, as authors may leave its end tag out (HTML §13.1.2.4).
pub(super) fn ends(open: &[u8], next: &[u8]) -> bool {
    match open {
        b"p" => flow(next) == Flow::Block || next == b"hr",
        b"li" => next == b"li",
        b"dt" | b"dd" => matches!(next, b"dt" | b"dd"),
        b"td" | b"th" => matches!(next, b"td" | b"th" | b"tr" | b"tbody" | b"tfoot" | b"thead"),
        b"tr" => matches!(next, b"tr" | b"tbody" | b"tfoot" | b"thead"),
        b"tbody" | b"thead" | b"tfoot" => matches!(next, b"tbody" | b"tfoot" | b"thead"),
        b"option" => matches!(next, b"option" | b"optgroup"),
        b"head" => next == b"body",
        b"a" => next == b"a",
        _ => false,
    }
}
