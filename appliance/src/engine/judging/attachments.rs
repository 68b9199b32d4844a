//! What becomes of a message for its attachments, by their true type and their name, those within archives included.

use judge::{Check, Verdict};
use sift::Content;
use sift::content::{Kind, Part};

use crate::config::{Attachment, Attachments};

/// What runs when it is opened. A part may be of another type by its octets (an .msi is a compound file), or be locked in an
/// archive, and still runs by its name.
const PROGRAMS: &[&str] = &[
    "exe",
    "scr",
    "pif",
    "com",
    "cpl",
    "dll",
    "msi",
    "msp",
    "mst",
    "msix",
    "msixbundle",
    "appx",
    "appxbundle",
    "appref-ms",
    "application",
    "gadget",
    "jar",
    "xll",
    "ocx",
    "drv",
    "sys",
    "apk",
    "xbap",
];
/// What Windows hands to an interpreter when it is opened.
const SCRIPTS: &[&str] = &[
    "js", "jse", "vbs", "vbe", "vb", "wsf", "wsh", "wsc", "sct", "hta", "ps1", "psm1", "psd1", "bat", "cmd",
    "reg", "scf", "chm", "hlp", "inf", "msc", "mde", "ade",
];
/// What starts another file.
const SHORTCUTS: &[&str] = &[
    "lnk",
    "url",
    "desktop",
    "website",
    "webloc",
    "library-ms",
    "search-ms",
    "settingcontent-ms",
    "appcontent-ms",
];
/// What a name pretends to be before its true extension.
const DOCUMENTS: &[&str] = &[
    "pdf", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "odt", "ods", "rtf", "txt", "csv", "xml", "htm",
    "html", "jpg", "jpeg", "png", "gif", "bmp", "tif", "tiff", "mp3", "mp4", "avi", "mov", "wav", "eml",
    "ics",
];
/// Characters that turn the direction in which a name is read (UAX #9): `gpj.exe` becomes `exe.jpg` to the eye.
const TURNS: [char; 9] = [
    '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}',
    '\u{2069}',
];
/// Spaces that push an extension out of sight.
const GAP: &str = "        ";

/// The checks of all attachments: the gravest of each fate. `is_excused`: by a rule of the administrator's they are let through,
/// and are only named.
pub(super) fn checks(policy: &Attachments, content: &Content, is_excused: bool) -> Vec<Check> {
    let mut checks = Vec::new();
    let fates = [
        (&policy.refuse, Verdict::Reject),
        (&policy.quarantine, Verdict::Quarantine),
        (&policy.tag, Verdict::Tag),
    ];
    for (unwanted, demand) in fates {
        let hit = content.parts.iter().find_map(|part| {
            let what = unwanted.iter().find(|what| is(part, what))?;
            Some(format!("{}: {}", what.name(), shown(&part.name)))
        });
        match hit {
            Some(hit) if is_excused => checks.push(Check::weighing("attachment", hit, 0.0)),
            Some(hit) => checks.push(Check::demanding("attachment", hit, demand)),
            None => {}
        }
    }
    checks.extend(weighed(content));
    checks
}

/// What honest mail has too, and bad mail more often.
fn weighed(content: &Content) -> impl Iterator<Item = Check> {
    let traits = [
        (Attachment::Encrypted, "encrypted", 0.5),
        (Attachment::Macros, "macros", 0.8),
        (Attachment::ActivePage, "active-page", 0.8),
    ];
    traits.into_iter().filter_map(|(what, name, weight)| {
        let part = content.parts.iter().find(|part| is(part, &what))?;
        Some(Check::weighing(name, shown(&part.name), weight))
    })
}

fn shown(name: &str) -> String {
    match name {
        "" => "without a name".to_owned(),
        name => name.chars().map(|c| if c.is_control() || TURNS.contains(&c) { '?' } else { c }).collect(),
    }
}

fn is(part: &Part, what: &Attachment) -> bool {
    let extension = extension(&part.name);
    match what {
        Attachment::Program => match extension.as_str() {
            // A page that was saved may be called after its site.
            "com" => !part.media_type.starts_with("text/") && !part.media_type.starts_with("message/"),
            extension => part.kind == Kind::Program || PROGRAMS.contains(&extension),
        },
        Attachment::Script => SCRIPTS.contains(&extension.as_str()),
        Attachment::Shortcut => part.kind == Kind::Shortcut || SHORTCUTS.contains(&extension.as_str()),
        Attachment::DiskImage => part.kind == Kind::DiskImage,
        Attachment::Archive => part.kind == Kind::Archive,
        Attachment::Encrypted => part.encrypted,
        Attachment::Macros => {
            let document =
                matches!(part.kind, Kind::Office | Kind::CompoundDocument | Kind::Rtf | Kind::OpenDocument);
            part.active && document
        }
        Attachment::ActivePage => part.active && part.attached && part.kind == Kind::Html,
        Attachment::Disguised => is_disguised(&part.name, &extension),
        Attachment::Extension(unwanted) => extension == *unwanted,
    }
}

/// In lower case, without what Windows leaves off an end.
fn extension(name: &str) -> String {
    let name = name.trim_end_matches([' ', '.']);
    name.rsplit_once('.').map_or("", |(_, extension)| extension).trim().to_lowercase()
}

fn is_disguised(name: &str, extension: &str) -> bool {
    let runs = [PROGRAMS, SCRIPTS, SHORTCUTS].iter().any(|list| list.contains(&extension));
    let before = name.trim_end_matches([' ', '.']).rsplit_once('.').map_or("", |(before, _)| before);
    let pretends = DOCUMENTS.contains(&self::extension(before).as_str());
    runs && (pretends || before.contains(GAP) || name.contains(TURNS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, kind: Kind) -> Part {
        let media_type = "application/octet-stream".into();
        Part { name: name.into(), kind, media_type, attached: true, ..Part::default() }
    }

    fn demand(part: Part) -> Option<Verdict> {
        let content = Content { parts: vec![part], ..Content::default() };
        checks(&Attachments::default(), &content, false).into_iter().filter_map(|check| check.demand).max()
    }

    #[test]
    fn what_runs_is_refused_whatever_it_is_called_and_by_whatever_it_is_packed_in() {
        for (name, kind) in [
            ("setup.exe", Kind::Program),
            ("photo.jpg", Kind::Program),
            ("", Kind::Program),
            ("locked.EXE", Kind::Other),
            ("setup.msi", Kind::CompoundDocument),
            ("invoice.js", Kind::Script),
            ("invoice.exe. ", Kind::Other),
            ("command.com", Kind::Program),
        ] {
            assert_eq!(demand(part(name, kind)), Some(Verdict::Reject), "{name}");
        }
        assert_eq!(demand(part("Invoice.lnk", Kind::Shortcut)), Some(Verdict::Quarantine));
        assert_eq!(demand(part("data.iso", Kind::DiskImage)), Some(Verdict::Quarantine));
    }

    #[test]
    fn what_ordinary_users_send_passes() {
        for (name, kind) in [
            ("report.pdf", Kind::Pdf),
            ("offer.v2.docx", Kind::Office),
            ("backup.tar.gz", Kind::Gzip),
            ("patch.sh", Kind::Script),
            ("tool.py", Kind::Script),
            ("photos.zip", Kind::Zip),
            ("files.rar", Kind::Archive),
            ("meeting.ics", Kind::Calendar),
            ("smime.p7s", Kind::Cryptographic),
            ("winmail.dat", Kind::Other),
            ("", Kind::Text),
        ] {
            assert_eq!(demand(part(name, kind)), None, "{name}");
        }
        let page = Part { media_type: "text/html".into(), ..part("www.example.com", Kind::Program) };
        assert_eq!(demand(page), None, "a page called after its site");
        let locked = Part { encrypted: true, ..part("payroll.zip", Kind::Zip) };
        let macros = Part { active: true, ..part("budget.xlsm", Kind::Office) };
        let content = Content { parts: vec![locked.clone(), macros.clone()], ..Content::default() };
        let named: Vec<_> = checks(&Attachments::default(), &content, false)
            .iter()
            .map(|check| check.name.to_string())
            .collect();
        assert_eq!((demand(locked), demand(macros)), (None, None));
        assert_eq!(named, ["encrypted", "macros"]);
    }

    #[test]
    fn a_name_that_hides_what_it_is_is_told_with_what_hides_it_taken_out() {
        for name in [
            "invoice.pdf.exe",
            "photo.jpg        .scr",
            "photo.jpg.lnk",
            "cod.\u{202e}fdp.exe",
            "list.xlsx. js",
        ] {
            assert!(is_disguised(name, &extension(name)), "{name}");
        }
        for name in ["a.b.exe", "notes.txt", "page.html.pdf", "archive.tar.gz", "v1.2.zip"] {
            assert!(!is_disguised(name, &extension(name)), "{name}");
        }
        let content =
            Content { parts: vec![part("cod.\u{202e}fdp.exe", Kind::Program)], ..Content::default() };
        let all = Attachments { refuse: vec![Attachment::Disguised], ..Attachments::default() };
        assert_eq!(checks(&all, &content, false)[0].result, "disguised: cod.?fdp.exe");
        assert_eq!(checks(&all, &content, true)[0].demand, None, "an allowed sender's");
    }
}
