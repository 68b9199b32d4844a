//! Measures the classifier on a labelled corpus, every label given at once: `stream INDEX [body]`; with `body`, header fields but the
//! subject are masked.

use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use judge::evaluation::{index, measure};
use judge::{Features, Lesson, Model, Settings, Source, Transport, Whom};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which index?")?;
    let masked = arguments.next().is_some();
    let folder = Path::new(&path).parent().ok_or("an index lies in a folder")?;
    let model = Model::in_memory(Settings::default());
    let mut scores = Vec::new();
    for (number, labelled) in (0..).zip(index(BufReader::new(std::fs::File::open(&path)?))) {
        let labelled = labelled?;
        let mut content = sift::read(&std::fs::read(folder.join(&labelled.path))?, &sift::Bounds::default());
        if masked {
            content.fields.clear();
            content.from.clear();
            content.reply_to.clear();
            content.to.clear();
            content.message_id.clear();
        }
        let features = Features::of(&content, &Transport::default());
        let now = Duration::from_secs(1_700_000_000 + number);
        scores.push((labelled.class, model.score(&features, Whom::default(), now).log_odds));
        let source = Source::Administrator;
        let whom = Whom::default();
        model.learn(&Lesson {
            features: &features,
            class: labelled.class,
            source,
            weight: 1.0,
            whom,
            now,
        })?;
    }
    println!("{} messages: {:?}", scores.len(), measure(&scores, 4_f64.ln()));
    Ok(())
}
