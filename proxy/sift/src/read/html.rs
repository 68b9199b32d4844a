//! HTML to the text that it shows and the text that it hides, with its links. The tokenizer is html5gum's (WHATWG §13.2.5);
//! what is open is kept in a stack of bounded height, without building a tree.

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};
use url::Url;

use super::color::{self, Color};
use super::element::{self, Flow};
use super::links;
use super::sheet::Sheet;
use super::style::Style;
use super::text::{Gap, Label, Writer};
use crate::content::{Content, Purpose};

/// Elements within each other that are told apart; those within have what is around them.
const MAX_OPEN: usize = 256;
/// How far back an end tag is looked for: 'the rest of the page is closed by a stray tag' is no attack then.
const MAX_CLOSED: usize = 64;
/// Octets of an attribute's value that are kept; only a target is ever as long.
const MAX_VALUE: usize = 8 << 10;
/// Extent, in pixels, up to which a picture is there to be counted and not to be seen.
const BEACON: u32 = 2;

/// Reads a page.
pub(super) fn read(page: &str, content: &mut Content, visible: &mut Writer, hidden: &mut Writer) {
    let mut reader = Reader {
        content,
        visible,
        hidden,
        sheet: Sheet::default(),
        base: None,
        open: Vec::new(),
        left_open: 0,
        showing: Showing::default(),
        tag: None,
        attribute: None,
        link: None,
        label: Label::default(),
    };
    let mut emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, _: Span<()>| -> Option<()> {
        reader.event(event);
        None
    });
    emitter.naively_switch_states(true);
    for token in Tokenizer::new_with_emitter(page, emitter) {
        match token {
            Ok(()) => {}
            Err(never) => match never {},
        }
    }
    reader.end_link();
}

struct Reader<'c> {
    content: &'c mut Content,
    visible: &'c mut Writer,
    hidden: &'c mut Writer,
    sheet: Sheet,
    base: Option<Url>,
    open: Vec<Open>,
    /// Elements that were opened and are not in the stack.
    left_open: usize,
    /// Of the innermost element.
    showing: Showing,
    tag: Option<Tag>,
    attribute: Option<Attribute>,
    link: Option<Follows>,
    label: Label,
}

/// The link that text belongs to.
enum Follows {
    Kept(usize),
    LeftOut,
}

struct Open {
    name: Vec<u8>,
    /// What it was outside.
    before: Showing,
}

/// How text looks.
#[derive(Clone, Copy, Debug)]
struct Showing {
    gone: bool,
    invisible: bool,
    tiny: bool,
    silent: bool,
    color: Color,
    /// `None` where it is not known.
    ground: Option<Color>,
}

impl Default for Showing {
    fn default() -> Self {
        let ground = Some(color::WHITE);
        Self { gone: false, invisible: false, tiny: false, silent: false, color: color::BLACK, ground }
    }
}

impl Showing {
    fn is_seen(&self) -> bool {
        let lost = self.ground.is_some_and(|ground| self.color.is_lost_on(ground))
            || self.color == Color::Transparent;
        !(self.gone || self.invisible || self.tiny || self.silent || lost)
    }

    fn within(self, style: Style) -> Self {
        let ground = match style.background {
            Some(color @ Color::Opaque(..)) => Some(color),
            _ if style.pictured => None,
            _ => self.ground,
        };
        Self {
            gone: self.gone || style.erased || style.gone == Some(true),
            invisible: style.invisible.unwrap_or(self.invisible),
            tiny: style.tiny.unwrap_or(self.tiny),
            color: style.color.unwrap_or(self.color),
            ground,
            ..self
        }
    }
}

/// Attributes that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attribute {
    Action,
    Alt,
    Background,
    BgColor,
    Class,
    Color,
    Content,
    Data,
    FormAction,
    Height,
    Hidden,
    Href,
    HttpEquiv,
    Id,
    Src,
    Style,
    Text,
    Type,
    Width,
}

impl Attribute {
    fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"action" => Self::Action,
            b"alt" => Self::Alt,
            b"background" => Self::Background,
            b"bgcolor" => Self::BgColor,
            b"class" => Self::Class,
            b"color" => Self::Color,
            b"content" => Self::Content,
            b"data" => Self::Data,
            b"formaction" => Self::FormAction,
            b"height" => Self::Height,
            b"hidden" => Self::Hidden,
            b"href" | b"xlink:href" => Self::Href,
            b"http-equiv" => Self::HttpEquiv,
            b"id" => Self::Id,
            b"src" => Self::Src,
            b"style" => Self::Style,
            b"text" => Self::Text,
            b"type" => Self::Type,
            b"width" => Self::Width,
            _ => return None,
        })
    }
}

/// A start tag.
struct Tag {
    name: Vec<u8>,
    /// In their order; there are no more than kinds of them.
    attributes: Vec<(Attribute, String)>,
}

impl Tag {
    fn get(&self, wanted: Attribute) -> Option<&str> {
        self.attributes.iter().find(|(attribute, _)| *attribute == wanted).map(|(_, value)| value.as_str())
    }

    fn is(&self, name: &str) -> bool {
        self.name == name.as_bytes()
    }

    fn type_is(&self, wanted: &str) -> bool {
        self.get(Attribute::Type).is_some_and(|value| value.trim().eq_ignore_ascii_case(wanted))
    }

    /// An extent in pixels.
    fn extent(&self, wanted: Attribute) -> Option<u32> {
        let value = self.get(wanted)?.trim();
        value.strip_suffix("px").unwrap_or(value).trim().parse().ok()
    }
}

impl Reader<'_> {
    fn event(&mut self, event: CallbackEvent<'_>) {
        match event {
            CallbackEvent::OpenStartTag { name } => {
                self.tag = Some(Tag { name: name.to_vec(), attributes: Vec::new() });
                self.attribute = None;
            }
            CallbackEvent::AttributeName { name } => self.attribute_name(name),
            CallbackEvent::AttributeValue { value } => self.attribute_value(value),
            CallbackEvent::CloseStartTag { self_closing } => {
                if let Some(tag) = self.tag.take() {
                    self.start(&tag, self_closing);
                }
            }
            CallbackEvent::EndTag { name } => self.end(name),
            CallbackEvent::String { value } => self.text(&String::from_utf8_lossy(value)),
            CallbackEvent::Comment { .. } | CallbackEvent::Doctype { .. } | CallbackEvent::Error(_) => {}
        }
    }

    fn attribute_name(&mut self, name: &[u8]) {
        self.attribute = None;
        let Some(tag) = &mut self.tag else { return };
        if name.len() > 2 && name.starts_with(b"on") {
            let scripts = &mut self.content.markup.scripts;
            *scripts = scripts.saturating_add(1);
        }
        if let Some(attribute) = Attribute::of(name)
            && tag.get(attribute).is_none()
        {
            tag.attributes.push((attribute, String::new()));
            self.attribute = Some(attribute);
        }
    }

    fn attribute_value(&mut self, value: &[u8]) {
        if let Some(attribute) = self.attribute.take()
            && let Some(tag) = &mut self.tag
            && let Some((last, kept)) = tag.attributes.last_mut()
            && *last == attribute
        {
            *kept = String::from_utf8_lossy(value.get(..MAX_VALUE).unwrap_or(value)).into_owned();
        }
    }

    fn start(&mut self, tag: &Tag, self_closing: bool) {
        self.content.markup.elements = self.content.markup.elements.saturating_add(1);
        self.close_implied(&tag.name);
        let flow = element::flow(&tag.name);
        self.flow(flow);
        let style = self.style_of(tag);
        self.count(tag, &style);
        self.collect(tag);
        // In foreign content an element can end itself.
        let ends = matches!(flow, Flow::Void | Flow::Break) || self_closing && tag.is("svg");
        if !ends {
            let within = self.showing.within(style);
            let silent = within.silent || flow == Flow::Silent;
            self.push(&tag.name, Showing { silent, ..within });
        }
        if tag.is("img")
            && let Some(alt) = tag.get(Attribute::Alt)
            && self.showing.within(style).is_seen()
        {
            // Shown where the picture is not, which is the rule.
            self.visible.gap(Gap::Space);
            self.visible.run(alt);
            self.visible.gap(Gap::Space);
            self.label.run(alt);
        }
    }

    fn push(&mut self, name: &[u8], showing: Showing) {
        if self.open.len() < MAX_OPEN {
            self.open.push(Open { name: name.to_vec(), before: self.showing });
            self.showing = showing;
        } else {
            self.left_open += 1;
        }
    }

    fn end(&mut self, name: &[u8]) {
        self.flow(element::flow(name));
        if name == b"a" {
            self.end_link();
        }
        if self.left_open > 0 {
            self.left_open -= 1;
            return;
        }
        if let Some(back) = self.open.iter().rev().take(MAX_CLOSED).position(|open| open.name == name) {
            for _ in 0..=back {
                self.pop();
            }
        }
    }

    fn pop(&mut self) {
        if let Some(open) = self.open.pop() {
            self.showing = open.before;
        }
    }

    fn close_implied(&mut self, next: &[u8]) {
        if next == b"a" {
            self.end_link();
        }
        while self.left_open == 0 && self.open.last().is_some_and(|open| element::ends(&open.name, next)) {
            self.pop();
        }
    }

    fn flow(&mut self, flow: Flow) {
        let gap = match flow {
            Flow::Block | Flow::Break => Gap::Line,
            Flow::Cell => Gap::Space,
            Flow::Inline | Flow::Void | Flow::Silent => return,
        };
        self.visible.gap(gap);
        self.hidden.gap(Gap::Space);
    }

    fn text(&mut self, text: &str) {
        if self.showing.silent {
            if self.open.last().is_some_and(|open| open.name == b"style") {
                self.sheet.read(text);
            }
            return;
        }
        if !self.showing.is_seen() {
            self.hidden.run(text);
            return;
        }
        let zero_width = self.visible.run(text);
        let markup = &mut self.content.markup;
        markup.zero_width = markup.zero_width.saturating_add(zero_width);
        match self.link {
            Some(_) => self.label.run(text),
            None => links::scan(text, self.content),
        }
    }

    fn style_of(&self, tag: &Tag) -> Style {
        let color = |attribute| tag.get(attribute).and_then(Color::parse);
        let text = if tag.is("body") { Attribute::Text } else { Attribute::Color };
        let presented = Style {
            color: color(text),
            background: color(Attribute::BgColor),
            pictured: tag.get(Attribute::Background).is_some(),
            gone: tag.get(Attribute::Hidden).map(|_| true),
            ..Style::default()
        };
        let name = std::str::from_utf8(&tag.name).unwrap_or_default();
        let ruled = self.sheet.style(name, tag.get(Attribute::Class), tag.get(Attribute::Id));
        let own = tag.get(Attribute::Style).map(Style::parse).unwrap_or_default();
        let style = presented.overridden_by(ruled).overridden_by(own);
        // A mail program looks at its own window's width before it believes this of the whole page.
        if tag.is("body") || tag.is("html") { Style { gone: None, erased: false, ..style } } else { style }
    }

    fn count(&mut self, tag: &Tag, style: &Style) {
        let markup = &mut self.content.markup;
        let counter = match tag.name.as_slice() {
            b"form" => &mut markup.forms,
            b"input" if tag.type_is("password") => &mut markup.passwords,
            b"script" => &mut markup.scripts,
            b"iframe" | b"frame" | b"object" | b"embed" | b"applet" => &mut markup.frames,
            b"img" | b"image" => &mut markup.pictures,
            _ => return,
        };
        *counter = counter.saturating_add(1);
        let small = |attribute| tag.extent(attribute).is_some_and(|extent| extent <= BEACON);
        let is_small = (small(Attribute::Width) || style.narrow) && (small(Attribute::Height) || style.low);
        let is_beacon = is_small || style.erased || style.gone == Some(true);
        if tag.is("img") && is_beacon {
            markup.beacons = markup.beacons.saturating_add(1);
        }
    }

    fn collect(&mut self, tag: &Tag) {
        use Attribute::{Action, Background, Content, Data, FormAction, Href, HttpEquiv, Src};
        match tag.name.as_slice() {
            b"base" => {
                let href = tag.get(Href).and_then(|href| Url::parse(href.trim()).ok());
                self.base = self.base.take().or(href);
            }
            b"a" => self.follow(tag.get(Href)),
            b"area" => self.add(tag.get(Href), Purpose::Follow),
            b"img" | b"image" => self.add(tag.get(Src), Purpose::Picture),
            b"form" => self.add(tag.get(Action), Purpose::Form),
            b"button" => self.add(tag.get(FormAction), Purpose::Form),
            b"input" => {
                self.add(tag.get(FormAction), Purpose::Form);
                self.add(tag.get(Src), Purpose::Picture);
            }
            b"script" | b"iframe" | b"frame" | b"embed" => self.add(tag.get(Src), Purpose::Load),
            b"link" => self.add(tag.get(Href), Purpose::Load),
            b"object" => self.add(tag.get(Data), Purpose::Load),
            b"meta"
                if tag.get(HttpEquiv).is_some_and(|value| value.trim().eq_ignore_ascii_case("refresh")) =>
            {
                let target = tag.get(Content).and_then(|value| value.split_once('='));
                self.add(target.map(|(_, target)| target.trim().trim_matches(['"', '\''])), Purpose::Load);
            }
            _ => {}
        }
        self.add(tag.get(Background), Purpose::Picture);
    }

    fn add(&mut self, target: Option<&str>, purpose: Purpose) {
        if let Some(target) = target {
            links::add(target, self.base.as_ref(), purpose, self.content);
        }
    }

    fn follow(&mut self, target: Option<&str>) {
        let Some(target) = target else { return };
        let start = target.trim_start().get(..11).unwrap_or_default();
        if start.eq_ignore_ascii_case("javascript:") {
            self.content.markup.scripts = self.content.markup.scripts.saturating_add(1);
        }
        let kept = links::add(target, self.base.as_ref(), Purpose::Follow, self.content);
        self.link = Some(kept.map_or(Follows::LeftOut, Follows::Kept));
    }

    fn end_link(&mut self) {
        let shown = self.label.take();
        if let Some(Follows::Kept(at)) = self.link.take()
            && let Some(link) = self.content.links.get_mut(at)
        {
            link.text = shown;
        }
    }
}
