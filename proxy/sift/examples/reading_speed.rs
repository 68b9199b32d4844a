//! How long reading takes: `cargo run --release -p sift --example reading_speed -- FOLDER [PASSES]` reads all files below a
//! folder, and prints the time a message, the slowest ones, and what was found in all.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::time::Instant;

/// Messages that are named.
const SLOWEST: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("which folder?")?;
    let passes: u32 = arguments.next().map_or(Ok(3), |passes| passes.parse())?;
    let mut files = Vec::new();
    find(Path::new(&folder), &mut files)?;
    let mails = files
        .into_iter()
        .map(|file| Ok((fs::read(&file)?, file)))
        .collect::<Result<Vec<_>, std::io::Error>>()?;
    let octets: usize = mails.iter().map(|(mail, _)| mail.len()).sum();
    let bounds = sift::Bounds::default();
    let mut slowest = Vec::new();
    let mut best = f64::MAX;
    let (mut links, mut parts, mut text) = (0, 0, 0);
    for pass in 0..passes {
        let start = Instant::now();
        for (mail, file) in &mails {
            let begin = Instant::now();
            let content = sift::read(mail, &bounds);
            if pass == 0 {
                links += content.links.len();
                parts += content.parts.len();
                text += content.text.octets;
                slowest.push((begin.elapsed(), mail.len(), file));
            }
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    slowest.sort_by_key(|(time, ..)| std::cmp::Reverse(*time));
    println!(
        "{} messages, {octets} octets: {links} links, {parts} parts, {text} octets of text",
        mails.len()
    );
    println!(
        "best of {passes}: {:.1} us a message, {:.0} MB/s",
        best * 1e6 / mails.len() as f64,
        octets as f64 / best / 1e6
    );
    for (time, length, file) in slowest.iter().take(SLOWEST) {
        println!("{time:?} for {length} octets: {}", file.display());
    }
    Ok(())
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), std::io::Error> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { find(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
